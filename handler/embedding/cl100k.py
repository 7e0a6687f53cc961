"""OpenAI's cl100k_base token IDs to text, for clients that tokenize before they call (LangChain, Dify)."""

import zlib
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

from handler.errors import RequestError

VOCABULARY = Path(__file__).with_name("cl100k_base.bin")  # packed by model_artifacts/recipe/cl100k.py
MAX_CHARACTERS = 65_536  # 8 for each of the 8192 tokens that OpenAI accepts in an input
SIZE = 100_256  # IDs of text; the special tokens above them stand for no text


def decode(token_ids: Sequence[int], param: str = "input") -> str:
    """Return the text of token IDs below SIZE; a character that they split becomes U+FFFD.

    Raises:
        RequestError: the text of `param` is too long: some IDs stand for more than a hundred characters.
    """
    content, ends = _vocabulary()
    text = b"".join(content[ends[token_id] : ends[token_id + 1]] for token_id in token_ids).decode(errors="replace")
    if len(text) > MAX_CHARACTERS:
        raise RequestError(
            f"Invalid '{param}': {len(token_ids):,} token IDs stand for {len(text):,} characters, and at most "
            f"{MAX_CHARACTERS:,} are accepted; split them.",
            param=param,
            code="input_too_long",
        )
    return text


@cache  # read at the first request that needs it: 11 ms
def _vocabulary() -> tuple[bytes, list[int]]:
    """Return the unpacked file and the offset in it at which each token ends; the next one starts there."""
    content = zlib.decompress(VOCABULARY.read_bytes())
    return content, list(accumulate(content[:SIZE], initial=SIZE))
