"""OpenAI's tokens of a text, counted with its vocabulary cl100k_base: what a hosted embedding is billed for."""

import re
from functools import cache
from itertools import pairwise

from handler.embedding import cl100k

# tiktoken's pattern for cl100k_base, which divides a text before its bytes are merged; letters and digits as Python has
# them, which differ from Unicode's L and N in characters such as fractions.
PATTERN = re.compile(
    r"'(?i:[sdmt]|ll|ve|re)|(?:_|[^\r\n\w])?+[^\W\d_]++|\d{1,3}+| ?(?:_|[^\s\w])++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)


def count(text: str) -> int:
    """Return the number of tokens."""
    return sum(len(merged(piece.encode())) for piece in PATTERN.findall(text))


def merged(content: bytes) -> list[bytes]:
    """Merge bytes into tokens, the pair with the lowest ID first (byte pair encoding, Sennrich et al. 2016)."""
    ids = _ids()
    parts = [content[place : place + 1] for place in range(len(content))]
    while len(parts) > 1:
        pairs = [ids.get(left + right, cl100k.SIZE) for left, right in pairwise(parts)]
        place = pairs.index(min(pairs))
        if pairs[place] == cl100k.SIZE:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


@cache
def _ids() -> dict[bytes, int]:
    content, ends = cl100k._vocabulary()
    return {content[start:end]: number for number, (start, end) in enumerate(pairwise(ends))}
