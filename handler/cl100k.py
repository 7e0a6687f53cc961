"""OpenAI's cl100k_base token ids back to text: what clients send that tokenize before they call (LangChain, Dify)."""

import zlib
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

VOCABULARY = Path(__file__).with_name("cl100k_base.bin")  # packed by model_artifacts/recipe/cl100k.py
SIZE = 100_256  # ids of text; the special tokens above them stand for no text


def decode(token_ids: Sequence[int]) -> str:
    """Return the text of token ids below SIZE; a character that they cut in two becomes U+FFFD."""
    content, ends = _vocabulary()
    return b"".join(content[ends[token_id] : ends[token_id + 1]] for token_id in token_ids).decode(errors="replace")


@cache  # read at the first request that needs it: 11 ms
def _vocabulary() -> tuple[bytes, list[int]]:
    """Return the unpacked file and where in it each token ends, the token before it being the start."""
    content = zlib.decompress(VOCABULARY.read_bytes())
    return content, list(accumulate(content[:SIZE], initial=SIZE))
