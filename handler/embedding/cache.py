"""Pooled vectors that were computed before. A token sequence has one vector, bit for bit, so a hit is exact."""

import marshal
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import repeat
from threading import Lock

import numpy as np

from handler.embedding.pooling import Vectors
from handler.embedding.tokenization import TokenIds

# What an entry takes besides the bytes of its key and its vector: two headers, a link, its place in tables, and what
# the allocator wastes. At most 426 bytes of resident memory were measured.
ENTRY_BYTES = 448


class VectorCache:
    """Vectors by token sequence, within a limit of bytes; the least recently used are evicted. Threads may share it."""

    def __init__(self, max_bytes: int) -> None:
        """Make an empty cache; with 0 bytes it stays empty."""
        self._max_bytes = self._free = max_bytes
        self._vectors: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()

    def complete(self, sequences: list[TokenIds], compute: Callable[[list[TokenIds]], Vectors]) -> tuple[Vectors, int]:
        """Return the vectors of token sequences, float32 (sequences, hidden), and how many tokens were known.

        `compute` gets each of the other sequences once, the longest first, so that no worker is left with a long one at
        the end; their vectors are kept.
        """
        keys = keys_of(sequences)
        missing = dict(zip(keys, sequences, strict=True))
        known = self.find(missing)
        for key in known:
            del missing[key]
        order = sorted(missing, key=len, reverse=True)
        vectors = compute([missing[key] for key in order])
        self.add(order, vectors)
        tokens = 0
        if known:
            found = np.frombuffer(b"".join(known.values()), np.float32).reshape(len(known), -1)
            vectors, order = np.concatenate([vectors, found]), order + list(known)
            tokens = sum(len(sequence) for key, sequence in zip(keys, sequences, strict=True) if key in known)
        if order != keys:
            rows = {key: row for row, key in enumerate(order)}
            vectors = vectors.take([rows[key] for key in keys], axis=0)
        return vectors, tokens

    def find(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the vectors that are known, as the bytes of float32 (hidden,), by key."""
        known: dict[bytes, bytes] = {}
        if self._max_bytes:
            with self._lock:
                for key in keys:
                    if vector := self._vectors.get(key):
                        self._vectors.move_to_end(key)
                        known[key] = vector
        return known

    def add(self, keys: Iterable[bytes], vectors: Vectors) -> None:
        """Keep vectors, float32 (keys, hidden)."""
        if not self._max_bytes:
            return
        besides_key = vectors.shape[1] * vectors.itemsize + ENTRY_BYTES
        with self._lock:
            for key, vector in zip(keys, map(np.ndarray.tobytes, vectors), strict=True):
                size = len(key) + besides_key
                if key in self._vectors or size > self._max_bytes:  # another request may have added it meanwhile
                    continue
                self._free -= size
                while self._free < 0:
                    evicted, _ = self._vectors.popitem(last=False)
                    self._free += len(evicted) + besides_key
                self._vectors[key] = vector


def keys_of(sequences: Iterable[TokenIds]) -> list[bytes]:
    """Return each token sequence as bytes, 5 a token and 5 more: made in about half the time of an array's."""
    return list(map(marshal.dumps, sequences, repeat(2)))  # later formats depend on more than the values


NO_CACHE = VectorCache(0)
