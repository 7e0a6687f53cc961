"""What the results say of the strongest peer: the claims beside what the int8 products alone would allow."""

from benchmarks.peers.settings import NAMES
from benchmarks.report.results import SENTENCES, Claim, Results, Speed

TARGETS = {SENTENCES: 0.0, "8": 1.1, "256": 1.1}
TARGET, WIDE_TARGET = 1.3, 1.5  # of sentences: with AVX2 alone, and with VNNI or AMX
LIMIT_TOKENS = {SENTENCES: 16, "8": 8, "256": 256}  # of the products beside each; a sentence has 16 tokens in the mean
OURS = "serverless-embeddings"


def bests(results: Results) -> list[Speed]:
    """Return the peers at their best settings, in their order."""
    found = {each.name: each for each in results.speeds if each.best}
    return [found[name] for name in NAMES if name in found]


def strongest_at(results: Results, length: str) -> Speed | None:
    """Return the peer with the most texts per second of processor time; None if no best setting was measured."""
    measured = [each for each in bests(results) if length in each.rates]
    return min(measured, key=lambda each: each.rates[length].ratio, default=None)


def strongest(results: Results) -> list[Claim]:
    """Return our pace relative to the strongest peer at its best setting: of sentences, short and long texts."""
    claims = []
    for length, target in TARGETS.items():
        peer, ours = strongest_at(results, length), results.speed(OURS)
        if peer is None or ours is None:
            continue
        what = "mixed sentences" if length == SENTENCES else f"texts of {length} tokens"
        rate = peer.rates[length]
        detail = f"{ours.rates[length].cpu:.0f} vs. {rate.cpu:.0f} texts/s, {peer.name}"
        limit = results.limits.get(LIMIT_TOKENS[length])
        if limit:
            detail += f"; {rate.ratio * limit:.2f}x if only the int8 products took time"
        claims.append(
            Claim(
                f"texts per second of processor time, {what}, relative to the strongest peer at its best",
                rate.ratio,
                "x",
                "≥",
                target or (WIDE_TARGET if results.machine.wide else TARGET),
                detail,
            )
        )
    return claims
