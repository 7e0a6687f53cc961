"""Dollars per million of OpenAI's tokens on Lambda, and the list price of a hosted service.

    dollars = requests x (billed seconds x memory x price per GB-second + price per request)

    requests         1,000,000 / (OpenAI's tokens per text x texts per request)
    billed seconds   texts / (texts per second of one worker) + time outside the model, rounded up to a millisecond
    memory           1769 MB: one vCPU, so one worker

A text has other tokens here than at OpenAI, so both prices are for the same texts: a sentence's tokens are counted in
both vocabularies, and longer texts have their ratio. A request of one text has the pace of one text per call.

Assumed: a vCPU of Lambda is as fast as a core of the measured machine. Every environment is warm. Not counted: API
Gateway (nothing with a function URL), logs, traffic, free tier.
"""

import math

from benchmarks.report.results import SENTENCES, Results
from handler.bulk.prices import GB_SECOND, REQUEST, VCPU_GB

# OpenAI's list price for text-embedding-3-small, as known in November 2026: dollars per million tokens.
HOSTED = 0.02
SPECIAL = 2  # tokens that open and close every text here
BATCH = 256
ONE_WORKER = {1: "one worker, one text per call", BATCH: "one worker"}  # the pace, by texts per request
LONGEST = 256  # tokens
CASES = tuple((length, texts) for length in (SENTENCES, str(LONGEST)) for texts in ONE_WORKER)


def million(results: Results, length: str, texts: int, architecture: str = "x86_64") -> float | None:
    """Return the price of a million of OpenAI's tokens in requests of so many texts; None if it was not measured."""
    speed = results.speed(ONE_WORKER[texts])
    if speed is None or not results.paths_ms:
        return None
    rate = speed.rates[length]
    (one, one_ms), (many, many_ms) = results.paths_ms.items()
    around_ms = one_ms + (many_ms - one_ms) / (many - one) * (texts - 1)
    return price(architecture, hosted_tokens(results, length), texts, rate.cpu or rate.wall, around_ms)


def hosted_tokens(results: Results, length: str) -> float:
    """Return OpenAI's tokens of a text: of a sentence, or of one of LONGEST tokens here."""
    own, hosted = results.tokens
    return hosted if length == SENTENCES else (int(length) - SPECIAL) * hosted / (own - SPECIAL)


def price(architecture: str, tokens: float, texts: int, texts_per_second: float, around_ms: float) -> float:
    """Return the price of a million tokens, given the tokens per text and the texts per request.

    `around_ms` is the time that a request of that size spends outside the model.
    """
    each = request(architecture, VCPU_GB, texts / texts_per_second * 1000 + around_ms)
    return 1_000_000 / (tokens * texts) * each


def request(architecture: str, memory_gb: float, milliseconds: float) -> float:
    """Return the dollars of one request, whose duration is billed rounded up to a millisecond."""
    return math.ceil(milliseconds) / 1000 * memory_gb * GB_SECOND[architecture] + REQUEST
