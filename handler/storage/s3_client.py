"""S3 as bulk jobs use it: the client, objects as files, and one line for each error."""

import io
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from handler.errors import BulkError, StorageUnavailableError
from handler.storage.entries import changed

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONNECT_SECONDS, READ_SECONDS = 5, 20
REQUEST_TRIES = 8  # by boto3, with pauses of up to 20 s: S3 responds SlowDown until it has split a busy prefix
ONLINE = 2, 5, 3  # seconds to connect and to read, and tries of a request, of the client for requests
BODY_TRIES = 5  # by S3File, in a row without any progress
PART_BYTES = 8 << 20  # of an upload; S3 takes 10,000 parts, and at least 5 MiB but for the last
READ_AHEAD = 2 << 20  # bytes a request, when an object is read from front to back
MAX_CONNECTIONS = 64  # that are kept: as many threads may read receipts or footers
_lock = threading.Lock()  # boto3's default session is not safe to share while it makes clients


@cache
def make_client(connect: float, read: float, tries: int, style: str | None = None) -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    import boto3.session  # not at the top: a job on folders needs no S3
    from botocore.config import Config

    config = Config(
        connect_timeout=connect,
        read_timeout=read,
        retries={"mode": "standard", "total_max_attempts": tries},
        max_pool_connections=MAX_CONNECTIONS,
        signature_version="s3v4",
        s3={"addressing_style": style} if style else None,
    )
    return boto3.session.Session().client("s3", config=config)


def client(*, online: bool = False) -> Any:  # noqa: ANN401 - as above
    """Return the client, which threads share. Credentials, region and endpoint are those of the environment.

    `online` is for requests, which must end before API Gateway's 30 seconds.
    """
    with _lock:
        return make_client(*ONLINE) if online else make_client(CONNECT_SECONDS, READ_SECONDS, REQUEST_TRIES)


def presigned_url(bucket: str, key: str, seconds: int) -> str:
    """Return a URL at which anyone can download an object for some time.

    It names the bucket's region, which needs this style: it is signed for its host, so S3 could not redirect it.
    """
    saved_as = re.sub(r"[^\w.-]", "_", key.rpartition("/")[2], flags=re.ASCII)  # it becomes a header
    disposition = f'attachment; filename="{saved_as}"'
    request = {"Bucket": bucket, "Key": key, "ResponseContentDisposition": disposition}
    with _lock:
        signer = make_client(*ONLINE, style="virtual")
    url: str = signer.generate_presigned_url("get_object", request, seconds)
    return url


class S3File(io.RawIOBase):
    """One version of an object as a seekable file; each read is one request, which resumes where a body breaks off.

    Raises:
        StorageUnavailableError: S3 does not respond, or bodies break off again and again.
        BulkError: the object cannot be read, or it is another one than `etag` says.
    """

    def __init__(self, make: Callable[[], Any], bucket: str, key: str, size: int, etag: str) -> None:
        self._client = make
        self._bucket, self._key, self._size, self._etag = bucket, key, size, etag
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readall(self) -> bytes:
        """Return the rest of the object; Python's own method would read 8 KiB a request."""
        content = bytearray(max(0, self._size - self._position))
        self.readinto(content)
        return bytes(content)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - typeshed's Buffer
        """Fill the buffer, except at the end of the object."""
        with memoryview(buffer) as whole, whole.cast("B") as view:
            count = max(0, min(len(view), self._size - self._position))
            with errors(f"s3://{self._bucket}/{self._key}"), view[:count] as wanted:
                self._fill(wanted)
        self._position += count
        return count

    def _fill(self, view: memoryview) -> None:
        done = failures = 0
        while done < len(view):
            count, problem = self._read_body(view[done:], self._position + done)
            done += count
            if problem:
                failures = 1 if count else failures + 1
                if failures == BODY_TRIES:
                    raise problem
                time.sleep(random.random() * 0.1 * 2**failures)  # noqa: S311 - jitter

    def _read_body(self, view: memoryview, start: int) -> tuple[int, Exception | None]:
        """Fill the view from a position on; return how many bytes came, and why not all of them."""
        from botocore.exceptions import BotoCoreError

        done = 0
        with view, closing(self._get(start, start + len(view))) as body:
            try:
                while done < len(view):
                    with view[done:] as rest:  # a traceback must not keep it: it would hold the buffer
                        count = body.readinto(rest)
                    done += count
                    if not count:
                        return done, EOFError("the body is shorter than its range")
            except BotoCoreError as error:
                return done, error
        return done, None

    def _get(self, start: int, end: int) -> Any:  # noqa: ANN401 - as client
        requested = f"bytes={start}-{end - 1}"
        return self._client().get_object(Bucket=self._bucket, Key=self._key, Range=requested, IfMatch=self._etag)[
            "Body"
        ]


def upload(client: Any, bucket: str, key: str, blocks: Iterable[bytes]) -> None:  # noqa: ANN401 - as above
    """Write an object from blocks, a part of PART_BYTES a request; S3 shows it as a whole or not at all."""
    parts = _parts(blocks)
    first = next(parts, b"")
    if len(first) < PART_BYTES:
        client.put_object(Bucket=bucket, Key=key, Body=first)
        return
    request = {"Bucket": bucket, "Key": key}
    request["UploadId"] = client.create_multipart_upload(**request)["UploadId"]
    try:
        tags = [
            client.upload_part(**request, PartNumber=number, Body=part)["ETag"]
            for number, part in enumerate(chain([first], parts), 1)
        ]
        done = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        client.complete_multipart_upload(**request, MultipartUpload={"Parts": done})
    except BaseException:
        with suppress(Exception):  # the first error says more
            client.abort_multipart_upload(**request)  # its parts would be stored, and billed, for ever
        raise


def _parts(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Join blocks to parts of PART_BYTES; the last may be smaller."""
    part = bytearray()
    for block in blocks:
        part += block
        while len(part) >= PART_BYTES:
            yield bytes(part[:PART_BYTES])
            del part[:PART_BYTES]
    if part:
        yield bytes(part)


@contextmanager
def errors(where: str) -> Iterator[None]:
    """Turn what boto3 raises into a BulkError of one line."""
    from botocore import exceptions as boto

    try:
        yield
    except boto.ClientError as error:
        raise _from_response(where, error) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
        raise BulkError(f"{where}: there are no AWS credentials; run aws configure, or set AWS_PROFILE") from error
    except (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, EOFError) as error:
        kind = type(error).__name__
        raise StorageUnavailableError(
            f"{where}: S3 cannot be reached, or breaks off ({kind}); check the network, and run the job again"
        ) from error
    except boto.BotoCoreError as error:  # a setting of AWS: an invalid name, an unknown profile, an expired login
        raise BulkError(f"{where}: {' '.join(str(error).split())}") from error


def _from_response(where: str, error: "ClientError") -> BulkError:
    code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    match code:
        case "NoSuchBucket":
            problem = "the bucket does not exist; correct its name"
        case "NoSuchKey" | "404":
            problem = "the object does not exist"
        case "PreconditionFailed" | "412" | "InvalidRange":
            return changed(where)
        case (
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" | "301" | "400"
        ):
            problem = f"the bucket is in another region ({code}); set AWS_DEFAULT_REGION to the bucket's"
        case "AccessDenied" | "403" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken":
            problem = (
                f"S3 refuses access ({code}); allow the role or user s3:ListBucket, and s3:GetObject for the input, "
                "also s3:PutObject and s3:DeleteObject for the output"
            )
        case _ if status >= 500 or code in {"SlowDown", "RequestTimeout", "Throttling"}:
            return StorageUnavailableError(f"{where}: S3 responds {code}, also after retries; run the job again later")
        case _:
            problem = " ".join(f"S3 responds {code}: {error.response['Error'].get('Message')}".split())
    return BulkError(f"{where}: {problem}")
