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

LENGTHS = (16, 32, 64, 128, 256, 512)
ROUNDS, RUNS = 15, 5


def main() -> None:
    """Print a line for each length: the medians of the rounds' ratios."""
    settings = Settings.from_env(os.environ)
    artifacts = load(sys.argv[1] if sys.argv[1:] else settings.models[0], settings)
    one, all_cores = InferenceSession(artifacts.model), InferenceSession(artifacts.model, settings.threads)
    random = np.random.default_rng(0)
    for length in (each for each in LENGTHS if each <= artifacts.manifest.max_tokens):
        token_ids = random.integers(1000, 30000, (length, 1))
        rounds = [(*measure(one, token_ids), *measure(all_cores, token_ids)) for _ in range(ROUNDS)]
        alone = statistics.median(clock for clock, _, _, _ in rounds)
        speedup = statistics.median(before / after for before, _, after, _ in rounds)
        processor = statistics.median(after / before for _, before, _, after in rounds)
        print(
            f"{length} tokens: {alone * 1e3:.1f} ms on one core; {speedup:.2f} times as fast on {settings.threads}, "
            f"for {processor:.2f} times the processor time",
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
