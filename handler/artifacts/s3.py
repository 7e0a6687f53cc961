"""Published models in S3, read into memory; nothing is written to disk.

A bucket holds, under a prefix, `<name>/manifest.json` (the current manifest), `<name>/manifests/<digest>.json` and
`blobs/sha256/<digest>`; all but the first never change.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from handler.artifacts.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, File, Reference, sha256_of
from handler.errors import ArtifactError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

Result = TypeVar("Result")

CONNECT_SECONDS, READ_SECONDS, TRIES = 1, 2, 3
# One connection to S3 carries about 90 MB/s, so a model is read over several
# (docs.aws.amazon.com/whitepapers/latest/s3-optimizing-performance-best-practices).
PART_BYTES, PARTS_AT_ONCE = 8 << 20, 4
# urllib3 reads into memory of its own, and copies that: whole parts would take 32 MB more.
READ_BYTES = 256 << 10
REPLACE = "delete it from the bucket, and publish the model again with make publish"


def manifest_key(reference: Reference) -> str:
    """Return the key of a manifest: the pinned one, or the current one."""
    folder = f"{reference.prefix}{reference.name}"
    return f"{folder}/manifests/{reference.digest}.json" if reference.digest else f"{folder}/{MANIFEST_FILE}"


def blob_key(reference: Reference, sha256: str) -> str:
    """Return the key of a file's content, which models of a prefix share."""
    return f"{reference.prefix}blobs/sha256/{sha256}"


class WrongSizeError(Exception):
    """An object does not have the expected size; the message gives both."""


class S3Store:
    """Reads manifests and files of published models."""

    def __init__(self) -> None:
        self._s3: Any = None
        self._lock = Lock()

    def read_manifest(self, reference: Reference) -> bytes:
        """Read a manifest from its bucket.

        Raises:
            ArtifactError: it is unavailable, or too large.
        """
        key = manifest_key(reference)

        def read() -> bytes:
            response = self._get(reference, key)
            size = response["ContentLength"]
            if size > MAX_MANIFEST_BYTES:
                raise WrongSizeError(f"{size:,} bytes, and a manifest has at most {MAX_MANIFEST_BYTES:,}")
            content: bytes = response["Body"].read()
            return content

        with _translate_errors(reference, key):
            return _with_retries(read)

    def read_blob(self, reference: Reference, file: File) -> bytes:
        """Read a file's content from its bucket, several parts at a time.

        Raises:
            ArtifactError: it is unavailable, or does not match the manifest.
        """
        key, buffer = blob_key(reference, file.sha256), BytesIO()
        buffer.seek(file.size - 1)
        buffer.write(b"\0")
        with _translate_errors(reference, key), buffer.getbuffer() as view, ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
            list(pool.map(lambda start: self._read_part(reference, key, view, start), range(0, file.size, PART_BYTES)))
        content = buffer.getvalue()  # the buffer itself, not a copy
        if sha256_of(content) != file.sha256:
            raise ArtifactError(f"model '{reference}': s3://{reference.bucket}/{key} is damaged; {REPLACE}")
        return content

    def _read_part(self, reference: Reference, key: str, view: memoryview, start: int) -> None:
        """Fill a part of the view; a read that breaks off resumes from where it stopped."""
        from botocore.exceptions import IncompleteReadError

        end = min(start + PART_BYTES, len(view))

        def read_on() -> None:
            nonlocal start
            response = self._get(reference, key, Range=f"bytes={start}-{end - 1}")
            size = int(response["ContentRange"].rpartition("/")[2])
            if size != len(view):
                raise WrongSizeError(f"{size:,} bytes, and its manifest says {len(view):,}")
            while start < end:
                stop = min(start + READ_BYTES, end)
                with view[start:stop] as rest:  # Python 3.13 complains if a traceback keeps it
                    count = response["Body"].readinto(rest)
                if not count:
                    raise IncompleteReadError(actual_bytes=start, expected_bytes=end)
                start += count

        _with_retries(read_on)

    def _get(self, reference: Reference, key: str, **options: str) -> Any:  # noqa: ANN401 - as _client
        return self._client().get_object(Bucket=reference.bucket, Key=key, **options)

    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
        """Return the client, which threads may share once it exists."""
        import boto3.session  # not at the top: a bundled model needs no S3
        from botocore.config import Config

        with self._lock:
            self._s3 = self._s3 or boto3.session.Session().client(
                "s3",
                config=Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    retries={"mode": "standard", "total_max_attempts": TRIES},
                    response_checksum_validation="when_required",  # the SHA-256 covers more
                ),
            )
            return self._s3


def _with_retries(read: Callable[[], Result]) -> Result:
    """Read, and retry if a body breaks off; boto3 itself retries only failures before the body."""
    from botocore.exceptions import BotoCoreError

    for attempt in range(1, TRIES):
        try:
            return read()
        except BotoCoreError:
            from random import random  # not at the top: a bundled model needs none

            time.sleep(random() * 0.1 * 2**attempt)  # noqa: S311 - jitter, so that not all retry together
    return read()


@contextmanager
def _translate_errors(reference: Reference, key: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ArtifactError(f"model '{reference}': s3://{reference.bucket}/{key}: {_describe_error(error)}") from error


def _describe_error(error: Exception) -> str:
    """Return the failure and its remedy."""
    from botocore.exceptions import ClientError, NoCredentialsError

    match error:
        case ClientError():
            return _describe_client_error(error)
        case WrongSizeError():
            return f"{error}; {REPLACE}"
        case NoCredentialsError():
            return "there are no AWS credentials; give the function a role, or set the process's credentials"
        case _:
            return f"S3 cannot be read ({type(error).__name__}); check the network, or wait for S3: the load is retried"


def _describe_client_error(error: "ClientError") -> str:
    match error.response["Error"]["Code"]:
        case "NoSuchKey" | "404":
            return "the object does not exist; publish the model with make publish, or correct MODELS"
        case "InvalidRange":
            return f"it is shorter than its manifest says; {REPLACE}"
        case "NoSuchBucket":
            return "the bucket does not exist; correct MODELS"
        case (
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" | "301" as code
        ):
            return f"the bucket is in another region ({code}); use a bucket in the function's own"
        case "AccessDenied" | "403" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" as code:
            return (
                f"S3 refuses access ({code}); allow the function's role to read it, and check that the object exists: "
                "for a role that may not list the bucket, S3 denies access to missing objects too"
            )
        case code:
            return f"S3 responds {code}; wait for S3: the load is retried"
