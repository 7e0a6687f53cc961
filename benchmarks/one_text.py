"""One text on all cores: python -m benchmarks.one_text [MODEL], half a minute.

The runs of one text by a session of one thread and by one with a thread for each core, as a service of one model has.
"""

import os
import statistics
import sys
import time

import numpy as np

from handler.artifacts.resolver import load
from handler.embedding.inference import InferenceSession
from handler.settings import Settings

ROUNDS, RUNS = 15, 5


def main() -> None:
    """Print a line for each length: the medians of the rounds' ratios."""
    settings = Settings()
    artifacts = load(sys.argv[1] if sys.argv[1:] else settings.models[0], settings)
    threads = os.cpu_count() or 1
    one, all_ = InferenceSession(artifacts.model), InferenceSession(artifacts.model, threads)
    random = np.random.default_rng(0)
    for length in (16, 32, 64, 128, 256, 512):
        if length <= artifacts.manifest.max_tokens:
            token_ids = random.integers(1000, 30000, (length, 1))
            rounds = [(measure(one, token_ids), measure(all_, token_ids)) for _ in range(ROUNDS)]
            clock, cpu = (statistics.median(a[i] / b[i] for a, b in rounds) for i in (0, 1))
            milliseconds = 1e3 * statistics.median(a[0] for a, _ in rounds)
            print(
                f"{length} tokens: {milliseconds:.1f} ms on one core; {clock:.2f} times as fast on {threads}, "
                f"for {1 / cpu:.2f} times the processor time",
                flush=True,
            )


def measure(session: InferenceSession, token_ids: np.ndarray) -> tuple[float, float]:
    """Return the seconds of a run, by the clock and of all cores."""
    session.run(token_ids)
    started, before = time.perf_counter(), time.process_time()
    for _ in range(RUNS):
        session.run(token_ids)
    return (time.perf_counter() - started) / RUNS, (time.process_time() - before) / RUNS


if __name__ == "__main__":
    main()
