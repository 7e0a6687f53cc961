"""Dollars per million tokens on Lambda, from the throughput of one worker, and the list price of a hosted service.

    dollars = requests x (billed seconds x memory x price per GB-second + price per request)

    requests         1,000,000 / (tokens per text x texts per request)
    billed seconds   texts / (texts per second of one worker) + time outside the model, rounded up to a millisecond
    memory           1769 MB: one vCPU, so one worker

Assumed: a vCPU of Lambda is as fast as a core of the measured machine, on arm64 too, which was not
measured. Every environment is warm. Not counted: API Gateway (nothing with a function URL), logs, traffic, free tier.
"""

import math

from benchmarks.report.results import Price
from handler.bulk.prices import GB_SECOND, REQUEST, VCPU_GB

# OpenAI's list price for text-embedding-3-small, as known in November 2026: dollars per million tokens.
HOSTED = 0.02


def price(architecture: str, tokens: float, texts: int, texts_per_second: float, around_ms: float) -> Price:
    """Return the price of a million tokens, given the tokens per text and the texts per request.

    `around_ms` is the time that a request of that size spends outside the model.
    """
    each = request(architecture, VCPU_GB, texts / texts_per_second * 1000 + around_ms)
    return Price(architecture, tokens, texts, 1_000_000 / (tokens * texts) * each)


def request(architecture: str, memory_gb: float, milliseconds: float) -> float:
    """Return the dollars of one request, whose duration is billed rounded up to a millisecond."""
    return math.ceil(milliseconds) / 1000 * memory_gb * GB_SECOND[architecture] + REQUEST
