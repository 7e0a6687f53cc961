"""A sample of an input: rows that stand for others, and the pace at which some of them are embedded.

The sample is the start of some shards, spread over the plan. Each stands for the shards from itself to the next one, by
the size of their ranges: rows of Parquet, so that the number of rows is exact, and bytes of other formats.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Event

import numpy as np
import pyarrow as pa

from handler.bulk.chunk import Chunk, Row, embed_chunk, read_chunks
from handler.bulk.lines import is_compressed
from handler.bulk.plan import Plan
from handler.bulk.rows import size_of
from handler.embedding.embedder import Embedder
from handler.storage.entries import Entry, Storage

SAMPLED_SHARDS = 16  # and the first of each file, if there are no more files than this
SAMPLE_BYTES, SAMPLE_ROWS = 8 << 20, 40_000  # of all sampled shards together
COMPRESSED_BYTES = 64 << 20  # a compressed file is read from its start, so no sample is behind these bytes of it
# What is embedded to find the pace, after a few texts that warm up: a second or two, and enough texts of each length to
# share runs as they do in the job.
FIRST_TEXTS, MAX_TEXTS, MAX_TOKENS = 64, 2048, 1 << 15


@dataclass(frozen=True, slots=True)
class Stratum:
    """Sampled rows, and the number of rows of the input that each of them stands for."""

    weight: float
    rows: list[Row]
    rejects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What embedding took, per token: seconds with all cores, and seconds of one core.

    mean_tokens    tokens per text
    per_character  tokens per character
    refused        share of the texts that the model refuses, such as those that are too long
    """

    seconds: float
    cpu_seconds: float
    mean_tokens: float
    per_character: float
    refused: float


def sample(source: Storage, plan: Plan) -> Iterator[Stratum]:
    """Yield the sample, in the order of the plan.

    Raises:
        BulkError: the input cannot be read.
    """
    places = _places(plan) if plan.shards else []
    for place, following in pairwise([*places, len(plan.shards)]):
        shard = plan.shards[place]
        parquet = shard.file.lower().endswith(".parquet")
        end = min(shard.end, shard.start + (SAMPLE_ROWS if parquet else SAMPLE_BYTES) // len(places))
        rows: list[Row] = []
        rejects = read = 0
        for chunk in read_chunks(source, plan, [replace(shard, end=end)], None):
            rows += chunk.rows
            rejects += len(chunk.rejected)
            read += size_of(chunk.batch)
            if parquet and read >= SAMPLE_BYTES // len(places):  # rows of any size
                end = shard.start + len(rows) + rejects
                break
        size = sum(each.end - each.start for each in plan.shards[place:following])
        yield Stratum(
            weight=size / max(1, end - shard.start),
            rows=rows,
            rejects=rejects,
            bytes=read,
        )


def _places(plan: Plan) -> list[int]:
    """Return the numbers of the shards to sample, the first one among them."""
    entries = {file.name: Entry(file.name, file.size, file.version) for file in plan.files}
    firsts = {shard.file: shard.number for shard in reversed(plan.shards)}
    spread = set(np.linspace(0, len(plan.shards) - 1, SAMPLED_SHARDS).astype(int).tolist())
    if len(firsts) <= SAMPLED_SHARDS:
        spread |= set(firsts.values())
    near = [
        number
        for number in spread
        if not is_compressed(entries[plan.shards[number].file]) or plan.shards[number].start < COMPRESSED_BYTES
    ]
    return sorted({0, *near})


def measure(plan: Plan, strata: Sequence[Stratum], embedder: Embedder) -> Pace:
    """Embed texts as frequent in the sample as they are in the input."""
    rows = [row for stratum in strata for row in stratum.rows]
    if not rows:
        return Pace(0.0, 0.0, 0.0, 0.0, 0.0)
    ends = np.cumsum([stratum.weight for stratum in strata for _ in stratum.rows])

    def embed(count: int) -> Pace:
        places = np.searchsorted(ends, ends[-1] * (np.arange(count) + 0.5) / count)
        chosen = [rows[place] for place in places]
        batch = pa.record_batch({plan.options.text: [row.text for row in chosen]})
        started, cpu = time.perf_counter(), time.process_time()
        embedded = embed_chunk(Chunk(plan.shards[0], 0, chosen, batch, [], {}), embedder, plan.options, Event())
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        tokens = max(1, embedded.tokens)
        characters = sum(len(row.text or "") for row in chosen)
        refused = len(embedded.chunk.rejected) / count
        return Pace(seconds / tokens, cpu_seconds / tokens, tokens / count, embedded.tokens / characters, refused)

    first = embed(min(FIRST_TEXTS, len(rows)))
    return embed(max(1, min(int(MAX_TOKENS / first.mean_tokens), MAX_TEXTS, len(rows))))
