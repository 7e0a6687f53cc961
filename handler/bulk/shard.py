"""A shard: a range of the input becomes a Parquet file, its rejects, and a receipt.

Three stages overlap, across the borders of shards, too: one thread reads and checks rows, one embeds them with all
workers, and the caller's writes. The files depend on the plan and the shard's number alone.
"""

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import orjson

from handler.bulk.background import Background
from handler.bulk.chunk import Chunk, Embedded, Rejected, embed_chunk, read_chunks
from handler.bulk.output import ParquetWriter, output_batch, output_schema
from handler.bulk.plan import Plan, Shard
from handler.bulk.previous import Previous
from handler.bulk.receipts import SHARDS, Receipt, file_sha256
from handler.embedding.embedder import Embedder
from handler.storage.entries import Storage

REJECTS = "_rejects/"
AHEAD = 2  # chunks that wait between two stages: the seconds in which a part is written leave no worker idle


@dataclass(frozen=True, slots=True)
class Work:
    """What all shards of a job need; `previous` is an earlier output, if its vectors are to be reused."""

    source: Storage
    target: Storage
    plan: Plan
    embedder: Embedder
    previous: Previous | None = None


def embed_shard(work: Work, shard: Shard) -> Receipt:
    """Embed one shard, unless it is done, and return its receipt.

    Raises:
        BulkError: the input cannot be read, or the output cannot be written.
    """
    receipt = f"{SHARDS}{work.plan.shard_name(shard.number)}.json"
    if work.target.exists(receipt):
        return Receipt.from_json(work.target.read(receipt))
    ((_, done),) = embed_shards(work, [shard])
    return done


def embed_shards(
    work: Work, shards: Iterable[Shard], report: Callable[[Chunk], None] = lambda _: None
) -> Generator[tuple[Shard, Receipt]]:
    """Embed shards in their order and yield each with its receipt; `report` is called for each chunk written.

    Closing the iterator stops it within a second; the shard that is being written is dropped.

    Raises:
        BulkError: the input cannot be read, or the output cannot be written.
    """
    with Background() as background:
        chunks = background.run_ahead(read_chunks(work.source, work.plan, shards, work.previous), AHEAD)
        embed = partial(embed_chunk, embedder=work.embedder, options=work.plan.options, stop=background.stop)
        embedded = background.run_ahead(map(embed, chunks), AHEAD)
        for shard, own in groupby(embedded, key=lambda each: each.chunk.shard):
            yield shard, _write(work.target, work.plan, shard, own, report)


def _write(
    target: Storage, plan: Plan, shard: Shard, embedded: Iterable[Embedded], report: Callable[[Chunk], None]
) -> Receipt:
    started = time.monotonic()
    schema = output_schema(plan.input_schema, plan.options.layout, plan.options.dimensions)
    rows = reused = tokens = 0
    texts: list[bytes] = []
    rejected: list[Rejected] = []
    with target.temporary() as path:
        with ParquetWriter(path, schema, plan.metadata([shard])) as writer:
            for each in embedded:
                chunk = each.chunk
                ids = [row.id for row in chunk.rows]
                writer.write(output_batch(chunk.batch, each.vectors, ids, plan.options.id, schema))
                texts += [row.sha256 for row in chunk.rows]
                rejected += chunk.rejected
                reused += sum(row.sha256 in chunk.known for row in chunk.rows)
                tokens += each.tokens
                rows += len(chunk.rows) + len(chunk.rejected)
                report(chunk)
        receipt = Receipt(
            rows=rows,
            rejects=len(rejected),
            reused=reused,
            tokens=tokens,
            size=path.stat().st_size,
            sha256=file_sha256(path),
            seconds=time.monotonic() - started,
        )
        name = plan.shard_name(shard.number)
        if rejected:
            target.write(f"{REJECTS}{name}.jsonl", b"".join(orjson.dumps(each) + b"\n" for each in rejected))
        target.write(f"{SHARDS}{name}.sha256", b"".join(texts))
        target.publish(f"{SHARDS}{name}.parquet", path)
        target.write(f"{SHARDS}{name}.json", receipt.to_json())  # last: who finds it skips the shard
    return receipt
