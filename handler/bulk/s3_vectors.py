"""S3 Vectors: an index, within the limits of its API.

They are in docs.aws.amazon.com/AmazonS3/latest/userguide/s3-vectors-limitations.html.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from handler.errors import BulkError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

MAX_CALL_VECTORS, MAX_CALL_BYTES = 500, 16 << 20  # of 20 MiB
COMPONENT_BYTES = 24  # of a float32 as JSON, at most
VECTORS_PER_SECOND = 2500
CALLS_AT_ONCE, MAX_WAITING = 4, 8
MAX_METADATA_BYTES, MAX_FILTERABLE_BYTES, MAX_METADATA_KEYS = 40_000, 2_000, 50
MAX_KEY = 1024  # characters
METRIC = "cosine"
TRIES = 8

Metadata = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Vector:
    """What an index holds under a key."""

    key: str
    values: list[float]
    metadata: Metadata

    @property
    def bytes(self) -> int:
        """About the size of its JSON, or more."""
        return len(self.values) * COMPONENT_BYTES + 2 * len(orjson.dumps(self.metadata)) + MAX_KEY


class VectorIndex:
    """An index that exists.

    uri         s3vectors://bucket/index
    created     when it was created: another index may have had the name before
    unfiltered  metadata that cannot be searched by, and may therefore be long
    """

    def __init__(self, bucket: str, name: str, dimensions: int, unfiltered: str) -> None:
        """Open the index; if there is none, create one with this number of dimensions.

        Raises:
            BulkError: there is one with another number of dimensions, or the API refuses.
        """
        self.uri = f"s3vectors://{bucket}/{name}"
        self._names = {"vectorBucketName": bucket, "indexName": name}
        with _errors(self.uri):
            self._client = _client()
            found = self._open(dimensions, unfiltered)
        for what, there, ours in (
            ("dimensions", found["dimension"], dimensions),
            ("metric", found["distanceMetric"], METRIC),
        ):
            if there != ours:
                raise BulkError(f"{self.uri}: the index has {what} '{there}', and must have '{ours}'; name another one")
        self.created = str(found.get("creationTime", ""))
        self.unfiltered = set(found.get("metadataConfiguration", {}).get("nonFilterableMetadataKeys", [unfiltered]))
        self._next_call = time.monotonic()

    def _open(self, dimensions: int, unfiltered: str) -> Any:  # noqa: ANN401 - what boto3 returns
        try:
            return self._client.get_index(**self._names)["index"]
        except self._client.exceptions.NotFoundException:
            self._client.create_index(
                **self._names,
                dataType="float32",
                dimension=dimensions,
                distanceMetric=METRIC,
                metadataConfiguration={"nonFilterableMetadataKeys": [unfiltered]},
            )
            return self._client.get_index(**self._names)["index"]

    def put(self, vectors: Iterable[Vector]) -> Iterator[int]:
        """Put vectors with a few calls at a time; yield the number of vectors of each call that has ended.

        Raises:
            BulkError: the API refuses.
        """
        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool, _errors(self.uri):
            calls: deque[tuple[int, Future[None]]] = deque()
            try:
                for batch in _batches(vectors):
                    self._pace(len(batch))
                    calls.append((len(batch), pool.submit(self._put, batch)))
                    if len(calls) > MAX_WAITING:
                        yield _end(calls)
                while calls:
                    yield _end(calls)
            finally:
                for _, call in calls:
                    call.cancel()

    def _put(self, batch: list[Vector]) -> None:
        vectors = [{"key": each.key, "data": {"float32": each.values}, "metadata": each.metadata} for each in batch]
        self._client.put_vectors(**self._names, vectors=vectors)

    def _pace(self, vectors: int) -> None:
        """Wait until the index takes this number of vectors."""
        now = time.monotonic()
        time.sleep(max(0.0, self._next_call - now))
        self._next_call = max(self._next_call, now) + vectors / VECTORS_PER_SECOND


def shorten(metadata: Metadata, unfiltered: set[str], left_out: Counter[str]) -> Metadata:
    """Return metadata within the limits, without its longest values if need be, which are counted in `left_out`."""
    sizes = {name: len(orjson.dumps({name: value})) for name, value in metadata.items()}
    nothing: set[str] = set()
    for others, most in ((unfiltered, MAX_FILTERABLE_BYTES), (nothing, MAX_METADATA_BYTES)):
        names = sizes.keys() - others
        for name in sorted(names, key=lambda name: (-sizes[name], name)):
            if sum(sizes[each] for each in names & sizes.keys()) > most or len(sizes) > MAX_METADATA_KEYS:
                del sizes[name]
                left_out[name] += 1
    return {name: value for name, value in metadata.items() if name in sizes}


def _client() -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    import boto3.session  # not at the top: only a load needs it
    from botocore.config import Config

    config = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": TRIES})
    return boto3.session.Session().client("s3vectors", config=config)


def _end(calls: "deque[tuple[int, Future[None]]]") -> int:
    count, call = calls.popleft()
    call.result()
    return count


def _batches(vectors: Iterable[Vector]) -> Iterator[list[Vector]]:
    """Yield the vectors of one call each."""
    batch: list[Vector] = []
    size = 0
    for vector in vectors:
        own = vector.bytes
        if batch and (len(batch) == MAX_CALL_VECTORS or size + own > MAX_CALL_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(vector)
        size += own
    if batch:
        yield batch


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Turn what boto3 raises into a BulkError of one line."""
    from botocore import exceptions as boto

    try:
        yield
    except boto.NoCredentialsError as error:
        raise BulkError(f"{where}: there are no AWS credentials; run aws configure, or set AWS_PROFILE") from error
    except boto.ClientError as error:
        raise BulkError(f"{where}: {_describe(error)}") from error
    except (boto.HTTPClientError, boto.ConnectionError) as error:
        raise BulkError(
            f"{where}: S3 Vectors cannot be reached ({type(error).__name__}); run it again: it goes on where it was"
        ) from error
    except boto.BotoCoreError as error:  # a setting of AWS: no region, an unknown profile, an expired login
        raise BulkError(f"{where}: {' '.join(str(error).split())}") from error


def _describe(error: "ClientError") -> str:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    match code:
        case "NotFoundException":
            return "the vector bucket does not exist; create it: aws s3vectors create-vector-bucket"
        case "AccessDeniedException":
            return "access is denied; allow s3vectors:GetIndex, s3vectors:CreateIndex and s3vectors:PutVectors"
        case "TooManyRequestsException" | "ServiceUnavailableException":
            return f"S3 Vectors responds {code}, also after retries; run it again later: it goes on where it was"
        case _:
            return f"S3 Vectors responds {code}: {message}"
