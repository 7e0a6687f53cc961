"""What the cache of vectors gains, on a replay of queries whose frequencies follow Zipf's law.

python -m benchmarks.cache [STS.tsv.gz]

The query of rank k is asked 1/k as often as the first, the law of word frequencies, which queries of search engines
follow too (Baeza-Yates et al. 2007, doi.org/10.1145/1277741.1277775). Caches of several sizes see the same requests.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.rounds import interleave, medians, ratio
from benchmarks.texts import Texts
from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import DEFAULT_VECTOR_CACHE_MB, Settings

QUERIES, REQUESTS, WARM_UP = 20_000, 500, 5_000
ROUNDS, SECONDS = 7, 300
SIZES_MB = (0, 1, DEFAULT_VECTOR_CACHE_MB, 64)


def main() -> None:
    """Print the share of hits and the requests per second of CPU by size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sts", type=Path, nargs="?", help="a split of STS-B; by default, random words as long")
    settings, texts = Settings(), Texts(parser.parse_args().sts)
    artifacts, queries = load(settings.models[0], settings), list(islice(texts.distinct(), QUERIES))
    frequencies = 1 / np.arange(1, QUERIES + 1)
    random = np.random.default_rng(0)
    replay = random.choice(QUERIES, WARM_UP + (ROUNDS + 1) * REQUESTS, p=frequencies / frequencies.sum())
    warm_up, rounds = replay[:WARM_UP], np.split(replay[WARM_UP:], ROUNDS + 1)
    hits: dict[int, list[bool]] = {size: [] for size in SIZES_MB}

    def measure(embedder: Embedder, size: int, coming: Iterator[NDArray[np.int64]], _: int) -> float:
        started = time.process_time()
        hits[size] += [embedder.embed([queries[query]], cache=True).cached > 0 for query in next(coming)]
        return REQUESTS / (time.process_time() - started)

    subjects = {}
    for size in SIZES_MB:
        embedder = Embedder(artifacts, replace(settings, vector_cache=size << 20))
        for query in warm_up if size else ():
            embedder.embed([queries[query]], cache=True)
        subjects[f"{size} MB"] = partial(measure, embedder, size, iter(rounds))
    rates = interleave("replay", subjects, ROUNDS, SECONDS)
    print(f"{QUERIES:,} queries, {texts.origin}")
    for size, (name, median) in zip(SIZES_MB, medians(rates).items(), strict=True):
        gain = ratio(rates[name], rates["0 MB"])
        print(f"{name:>6}: {np.mean(hits[size]):4.0%} hits, {median:6.0f} requests per second of CPU, {gain:.2f}x")


if __name__ == "__main__":
    main()
