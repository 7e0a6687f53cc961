"""OpenAI's cl100k_base vocabulary, packed for decoding: `make vocabulary` writes handler/embedding/cl100k_base.bin.

Decoding needs only the bytes of each id, no merges. The source is the vocabulary file of OpenAI's tiktoken (MIT
License) in the PyPI package litellm; its SHA-256 is that of the file which tiktoken itself downloads.

Format: zlib of the 100,256 token lengths (uint8), followed by the tokens' bytes, both ordered by id.
"""

import hashlib
import sys
import zipfile
import zlib
from base64 import b64decode
from pathlib import Path

SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
MEMBER = "litellm/litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
PACKED = Path(__file__).parents[2] / "handler" / "embedding" / "cl100k_base.bin"


def pack(ranks: bytes) -> bytes:
    """Pack a tiktoken vocabulary file, whose lines are `base64 rank`.

    Raises:
        ValueError: the file is not cl100k_base.
    """
    digest = hashlib.sha256(ranks).hexdigest()
    if digest != SHA256:
        raise ValueError(f"SHA-256 {digest}, and cl100k_base has {SHA256}")
    rows = (line.split() for line in ranks.splitlines())
    tokens = [b64decode(token) for token, _ in sorted(rows, key=lambda row: int(row[1]))]
    return zlib.compress(bytes(map(len, tokens)) + b"".join(tokens), level=9)


if __name__ == "__main__":
    (wheel,) = sys.argv[1:]
    PACKED.write_bytes(pack(zipfile.ZipFile(wheel).read(MEMBER)))
    print(f"{PACKED}: {PACKED.stat().st_size:,} bytes")
