"""A chunk: consecutive rows of a shard, read and checked, then embedded."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Event

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from handler.bulk.formats import read_range
from handler.bulk.plan import Options, Plan, Shard
from handler.bulk.previous import Previous
from handler.bulk.rows import Rows, select
from handler.contract.schemas import parse_input
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder
from handler.embedding.prompts import choose_prompt
from handler.errors import RequestError
from handler.storage.entries import Entry, Storage

Vectors = NDArray[np.float32]
Refusals = Mapping[str | None, RequestError]  # of texts


@dataclass(frozen=True, slots=True)
class Row:
    """A row's text, and where it comes from; `sha256` is the text's."""

    id: str
    position: int
    text: str | None
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not embedded; `code` is that of a request with its text, or of a row that cannot be read."""

    id: str
    file: str
    position: int
    code: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a shard.

    position  how far the shard has been read
    rows      the rows to embed
    batch     all their columns
    rejected  the rows that were left out
    known     vectors by the SHA-256 of their text, from an earlier output
    """

    shard: Shard
    position: int
    rows: list[Row]
    batch: pa.RecordBatch
    rejected: list[Rejected]
    known: Mapping[bytes, Vectors]

    def without(self, refused: Refusals) -> "Chunk":
        """Return the chunk with the rows rejected that have one of these texts."""
        if not refused:
            return self
        kept = [index for index, row in enumerate(self.rows) if row.text not in refused]
        rejected = [
            Rejected(row.id, self.shard.file, row.position, error.code, error.message)
            for row in self.rows
            if (error := refused.get(row.text))
        ]
        return replace(
            self,
            rows=[self.rows[index] for index in kept],
            batch=select(self.batch, kept),
            rejected=sorted([*self.rejected, *rejected], key=lambda row: row.position),
        )


@dataclass(frozen=True, slots=True)
class Embedded:
    """A chunk and the vectors of its rows, float32 (rows, dimensions); `tokens` is what the model read for them."""

    chunk: Chunk
    vectors: Vectors
    tokens: int


def read_chunks(source: Storage, plan: Plan, shards: Iterable[Shard], previous: Previous | None) -> Iterator[Chunk]:
    """Read shards, and reject what a request would be refused for; a shard without rows has a chunk, too."""
    schema = plan.input_schema
    entries = {file.name: Entry(file.name, file.size, file.version) for file in plan.files}
    for shard in shards:
        yield Chunk(shard, shard.start, [], pa.RecordBatch.from_pylist([], schema), [], {})
        for rows in read_range(source, entries[shard.file], shard.start, shard.end, schema):
            chunk = _check(plan.options, shard, rows)
            yield replace(chunk, known=previous.lookup([row.sha256 for row in chunk.rows])) if previous else chunk


def _check(options: Options, shard: Shard, read: Rows) -> Chunk:
    texts = read.batch.column(options.text).to_pylist()
    ids = read.batch.column(options.id).to_pylist() if options.id else [None] * len(texts)
    rows = [
        Row(
            id=f"{shard.file}:{position}" if id_ is None else str(id_),
            position=position,
            text=text,
            sha256=hashlib.sha256((text or "").encode()).digest(),
        )
        for id_, position, text in zip(ids, read.positions, texts, strict=True)
    ]
    rejected = [
        Rejected(f"{shard.file}:{reject.position}", shard.file, reject.position, reject.code, reject.message)
        for reject in read.rejects
    ]
    position = max(*read.positions[-1:], *(reject.position for reject in read.rejects[-1:]), shard.start)
    chunk = Chunk(shard, position, rows, read.batch, rejected, {})
    return chunk.without({text: error for text in texts if (error := _refusal(text))})


def _refusal(text: str | None) -> RequestError | None:
    """Return the error of a request with this text, if it has one for every model."""
    if text is None:
        return RequestError("Invalid type for 'input': expected a string, and it is null.", code="invalid_type")
    try:
        parse_input(text)
    except RequestError as error:
        return error
    return None


def embed_chunk(chunk: Chunk, embedder: Embedder, options: Options, stop: Event) -> Embedded:
    """Embed the rows whose vector is not known, as requests with their texts, bit for bit; reject those refused.

    Raises:
        CancelledRequestError: `stop` was set.
    """
    prompt_name = choose_prompt(options.model, embedder.manifest.prompts, options.input_type)
    texts = [row.text for row in chunk.rows if row.text is not None and row.sha256 not in chunk.known]
    try:
        vectors, tokens = _embed(texts, embedder, options.dimensions, prompt_name, stop)
    except RequestError:
        refused: Refusals = {text: error for text in texts if (error := embedder.check(text, prompt_name))}
        if not refused:
            raise
        return embed_chunk(chunk.without(refused), embedder, options, stop)
    if not chunk.known:
        return Embedded(chunk, vectors, tokens)
    fresh = iter(vectors)
    together = [known if (known := chunk.known.get(row.sha256)) is not None else next(fresh) for row in chunk.rows]
    return Embedded(chunk, np.array(together, np.float32), tokens)


def _embed(
    texts: list[str], embedder: Embedder, dimensions: int, prompt_name: str | None, stop: Event
) -> tuple[Vectors, int]:
    """Return the vectors of texts and their tokens; halve the texts as long as a request could not take them."""
    if not texts:
        return np.empty((0, dimensions), np.float32), 0
    deadline = Deadline(arrived=0, is_cancelled=stop.is_set)
    try:
        embeddings = embedder.embed(texts, dimensions, prompt_name, deadline)
    except RequestError as error:
        if error.code != "request_too_large" or len(texts) == 1:
            raise
        halves = [
            _embed(half, embedder, dimensions, prompt_name, stop)
            for half in (texts[: len(texts) // 2], texts[len(texts) // 2 :])
        ]
        return np.concatenate([vectors for vectors, _ in halves]), sum(tokens for _, tokens in halves)
    return embeddings.vectors, embeddings.tokens
