import subprocess
import sys
import zipfile
import zlib
from base64 import b64encode
from itertools import pairwise

import pytest

from handler.embedding import cl100k
from model_artifacts.recipe.cl100k import MEMBER, PACKED, pack
from tests.emulator import ROOT


@pytest.fixture(scope="module")
def ranks() -> bytes:
    """Rebuild OpenAI's file from the packed one: one line for each token, in the order of their ids."""
    content, ends = cl100k._vocabulary()
    tokens = (content[start:end] for start, end in pairwise(ends))
    return b"".join(b"%s %d\n" % (b64encode(token), rank) for rank, token in enumerate(tokens))


def test_packed_file_holds_openais_vocabulary(ranks):
    assert PACKED == cl100k.VOCABULARY
    assert zlib.decompress(pack(ranks)) == zlib.decompress(PACKED.read_bytes())  # zlib versions compress differently


def test_pack_rejects_another_vocabulary(ranks):
    with pytest.raises(ValueError, match="cl100k_base has"):
        pack(ranks[:-1])


def test_command_leaves_the_packed_file_alone_if_the_vocabulary_is_another(tmp_path):
    before = PACKED.read_bytes()
    with zipfile.ZipFile(tmp_path / "litellm.whl", "w") as wheel:
        wheel.writestr(MEMBER, "aGVsbG8= 0\n")
    command = [sys.executable, "-m", "model_artifacts.recipe.cl100k", str(tmp_path / "litellm.whl")]
    assert b"cl100k_base has" in subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stderr
    assert PACKED.read_bytes() == before
