"""The cache of vectors: exact, and bounded in bytes."""

import tracemalloc

import numpy as np
import pytest

from handler.embedding.cache import ENTRY_BYTES, VectorCache, keys_of

VECTORS = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
KEYS = keys_of([[2, 5, 3], [2, 6, 3], [2, 5, 6, 3]])
ENTRY = len(KEYS[0]) + 8 * 4 + ENTRY_BYTES  # the bytes of the first


def test_a_vector_is_found_by_its_whole_sequence():
    cache = VectorCache(1 << 20)
    cache.add(KEYS, VECTORS)
    known = cache.find([*KEYS, *keys_of([[2, 3], [2, 5]])])
    assert known == dict(zip(KEYS, map(bytes, VECTORS), strict=True))


def test_the_least_recently_used_are_evicted():
    cache = VectorCache(ENTRY + len(KEYS[2]) - len(KEYS[0]) + ENTRY)
    cache.add(KEYS[:2], VECTORS[:2])
    cache.find(KEYS[:1])
    cache.add(KEYS[2:], VECTORS[2:])
    assert list(cache.find(KEYS)) == [KEYS[0], KEYS[2]]


def test_a_vector_that_is_added_again_takes_no_more():
    cache = VectorCache(2 * ENTRY)
    cache.add(KEYS[:2], VECTORS[:2])
    cache.add(KEYS[:1] * 9, VECTORS[[0] * 9])
    assert list(cache.find(KEYS)) == KEYS[:2]


@pytest.mark.parametrize("limit", [0, ENTRY - 1])
def test_what_does_not_fit_is_not_kept(limit):
    cache = VectorCache(limit)
    cache.add(KEYS, VECTORS)
    assert not cache.find(KEYS)


def test_what_does_not_fit_evicts_nothing():
    cache = VectorCache(ENTRY)
    cache.add(KEYS, VECTORS)
    assert list(cache.find(KEYS)) == KEYS[1:2]


def test_memory_never_exceeds_the_limit():
    limit, vectors = 1 << 20, np.zeros((100, 8), np.float32)
    numbers, most = iter(range(1_000_000)), 0
    tracemalloc.start()
    try:
        cache = VectorCache(limit)
        for _ in range(100):
            keys = keys_of([next(numbers), 3] for _ in vectors)
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            cache.add(keys, vectors)
            del keys
            most = max(most, tracemalloc.get_traced_memory()[1])
        assert before > limit / 2
    finally:
        tracemalloc.stop()
    assert most < limit
