"""Published models in S3, read into memory: nothing is written to disk, so nothing is left there.

A bucket holds, under a prefix, `<name>/manifest.json` (the current manifest), `<name>/manifests/<digest>.json` and
`blobs/sha256/<digest>`; all but the first never change.
"""

import hashlib
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any

from handler.errors import ArtifactError
from handler.manifest import MANIFEST_FILE, File, Reference

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONNECT_SECONDS, READ_SECONDS, TRIES = 1, 2, 3
# One connection to S3 carries some 90 MB/s, so a model comes over several
# (docs.aws.amazon.com/whitepapers/latest/s3-optimizing-performance-best-practices).
PART_BYTES, PARTS_AT_ONCE = 8 << 20, 4
WRITE_BYTES = 1 << 20


def manifest_key(reference: Reference) -> str:
    """Return the key of a manifest: the pinned one, or the current one."""
    folder = f"{reference.prefix}{reference.name}"
    return f"{folder}/manifests/{reference.digest}.json" if reference.digest else f"{folder}/{MANIFEST_FILE}"


def blob_key(reference: Reference, sha256: str) -> str:
    """Return the key of a file's content, which models of a prefix share."""
    return f"{reference.prefix}blobs/sha256/{sha256}"


class Store:
    """Reads manifests and files of published models."""

    def __init__(self) -> None:
        self._s3: Any = None
        self._lock = Lock()

    def read_manifest(self, reference: Reference) -> bytes:
        """Read a manifest from its bucket.

        Raises:
            ArtifactError: it cannot be had.
        """
        return self._download(reference, manifest_key(reference))

    def read_blob(self, reference: Reference, file: File) -> bytes:
        """Read a file's content from its bucket.

        Raises:
            ArtifactError: it cannot be had, or is not what the manifest says.
        """
        key = blob_key(reference, file.sha256)
        content = self._download(reference, key)
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise ArtifactError(
                f"model '{reference}': s3://{reference.bucket}/{key} is damaged: {len(content):,} bytes with the "
                f"SHA-256 {digest}, and the manifest says {file.size:,}; delete it, and publish the model again with "
                "make publish"
            )
        return content

    def _download(self, reference: Reference, key: str) -> bytes:
        """Read an object in parts, several at once, each tried again where it broke off.

        Raises:
            ArtifactError: it cannot be had.
        """
        from boto3.s3.transfer import TransferConfig  # here, and below: the bundled model needs no S3

        config = TransferConfig(
            multipart_threshold=PART_BYTES,
            multipart_chunksize=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
            io_chunksize=WRITE_BYTES,
            preferred_transfer_client="classic",
        )
        # A seekable one: s3transfer 0.19 never ends where it has to write more than ten parts in their order.
        content = BytesIO()
        try:
            self._client().download_fileobj(reference.bucket, key, content, Config=config)
        except Exception as error:
            raise ArtifactError(f"model '{reference}': s3://{reference.bucket}/{key}: {_explain(error)}") from error
        return content.getvalue()  # the buffer itself, not a copy

    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
        """Return the one client, which threads may share once it is made."""
        import boto3.session
        from botocore.config import Config

        with self._lock:
            self._s3 = self._s3 or boto3.session.Session().client(
                "s3",
                config=Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    retries={"mode": "standard", "total_max_attempts": TRIES},
                    # The SHA-256 says more; and the transfer manager then asks for no size before the first part.
                    response_checksum_validation="when_required",
                ),
            )
            return self._s3


def _explain(error: Exception) -> str:
    """Say what was wrong, and what helps."""
    from botocore.exceptions import ClientError, NoCredentialsError

    match error:
        case ClientError():
            return _explain_refusal(error)
        case NoCredentialsError():
            return "there are no AWS credentials; give the function a role, or the process its credentials"
        case _:
            return f"S3 cannot be read ({type(error).__name__}); see to the network, or wait for S3: it is tried again"


def _explain_refusal(error: "ClientError") -> str:
    match error.response["Error"]["Code"]:
        case "NoSuchKey" | "404":
            return "it is not there; publish the model with make publish, or correct MODELS"
        case "NoSuchBucket":
            return "there is no such bucket; correct MODELS"
        case (
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" | "301" as code
        ):
            return f"the bucket is in another region ({code}); use a bucket in the function's own"
        case "AccessDenied" | "403" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" as code:
            return (
                f"S3 refuses access ({code}); let the function's role read it, and see that it is there: to a role "
                "that may not list the bucket, what is missing is refused as well"
            )
        case code:
            return f"S3 answers {code}; wait for S3: it is tried again"
