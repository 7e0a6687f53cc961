"""What the benchmark's peers share: texts divided among processes, batches and their order, hidden instructions."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from benchmarks import avx2, openai_tokens
from benchmarks.peers import engines
from benchmarks.peers.embedder_process import Launch, start
from benchmarks.report.machine import Machine
from handler.settings import Settings
from tests.unit.benchmarks.machines import machine

SERVED = Settings().artifacts / Settings().models[0]
TEXTS = ["a much longer text than the others, with many words", "one", "two words", "three more words"]


def test_vectors_are_those_of_the_texts_in_their_order_however_they_are_divided():
    with start("onnxruntime", SERVED, None, Launch()) as one:
        expected = one.embed(TEXTS, 1, by_length=False, every=True).vectors
    with start("onnxruntime", SERVED, None, Launch(processes=2)) as two:
        for by_length in (False, True):
            done = two.embed(TEXTS, 2, by_length=by_length, every=True)
            np.testing.assert_array_equal(done.vectors, expected)
            assert done.cpu_seconds > 0
        np.testing.assert_array_equal(two.embed(TEXTS[:1], 1, by_length=True).vectors, expected[:1])


def test_a_process_that_ends_is_an_error_and_its_log_is_shown(capfd):
    with pytest.raises(EOFError, match="plain"), start("plain", Path("missing"), None, Launch()) as running:
        running.embed(TEXTS, 2, by_length=False)
    assert "missing/model.onnx" in capfd.readouterr().err


@pytest.mark.parametrize(("by_length", "shapes"), [(False, [(2, 13), (2, 5)]), (True, [(2, 4), (2, 13)])])
def test_engines_embed_padded_batches_and_pool_what_is_not_padding(by_length, shapes):
    seen = []

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        seen.append(ids.shape)
        states = np.stack([ids, np.ones_like(ids)], -1).astype(np.float32)
        return np.where(mask[..., None], states, 1000)

    vectors = engines._embedder(SERVED, run)(TEXTS, 2, by_length)
    assert seen == shapes
    tokenizer = Tokenizer.from_file(str(SERVED / "tokenizer.json"))
    tokenizer.no_padding()
    means = [np.mean(encoding.ids) for encoding in tokenizer.encode_batch(TEXTS)]
    np.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], means, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("hello world", 2),
        ("", 0),
        ("The food was delicious and the waiter...", 8),
        ("12345", 2),
        ("don't", 2),
        ("a  b\n", 4),
    ],
)
def test_openais_tokens_are_those_of_tiktoken(text, tokens):
    assert openai_tokens.count(text) == tokens


@pytest.mark.skipif(not all(map(shutil.which, ("gcc", "objdump", "readelf"))), reason="needs gcc and binutils")
def test_a_library_with_its_cpuid_replaced_sees_avx2_alone(tmp_path):
    source = tmp_path / "asks.c"
    source.write_text(
        "#include <cpuid.h>\n"
        "unsigned ebx(void) { unsigned a, b, c, d; __cpuid_count(7, 0, a, b, c, d); return b; }\n"
        "unsigned unrelated(void) { return 0xa20f; }\n"
    )
    library, hide = tmp_path / "asks.so", tmp_path / "hide.so"
    for path, code in ((library, source), (hide, Path(avx2.__file__).with_suffix(".c"))):
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, code], check=True)
    library.write_bytes(avx2.without_cpuid(library, library.read_bytes()))
    asked = f"import ctypes; asks = ctypes.CDLL({str(library)!r}); print(asks.ebx() & 0xffffffff, asks.unrelated())"
    command = [shutil.which("python3") or "python3", "-c", asked]
    done = subprocess.run(command, env={"LD_PRELOAD": str(hide)}, capture_output=True, text=True, check=True)
    ebx, unrelated = map(int, done.stdout.split())
    avx512, two = sum(1 << bit for bit in (16, 17, 21, 26, 27, 28, 30, 31)), 1 << 5
    assert ebx & avx512 == 0
    assert bool(ebx & two) == (" avx2 " in Path("/proc/cpuinfo").read_text())
    assert unrelated == 0xA20F


def test_a_machine_is_named_after_its_extension_and_what_was_hidden(monkeypatch):
    assert machine("AMX").rank < machine("AVX-512 VNNI").rank < machine("AVX2").rank < machine("AVX2 alone").rank
    assert [machine(each).wide for each in ("AMX", "AVX-VNNI", "AVX2", "AVX2 alone")] == [True, True, False, False]
    monkeypatch.setenv(avx2.HIDDEN, "1")
    here = Machine.here()
    assert here.title == f"AVX2 alone (AVX-512 hidden on an {here.processor})"
    assert here.slug.endswith("-avx2-alone")
    assert here.packages["openvino"]
