"""A prefix of an S3 bucket as storage."""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

from handler.errors import BulkError
from handler.storage.entries import Entry
from handler.storage.s3_client import READ_AHEAD, S3File, client, errors, presigned_url, upload

# Another request has created the object, or does so now
# (docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
EXISTS = {"PreconditionFailed", "ConditionalRequestConflict"}


class S3Prefix:
    """The objects of a bucket whose keys start with a prefix and a slash."""

    def __init__(self, bucket: str, prefix: str, *, online: bool = False) -> None:
        self._client = partial(client, online=online)
        self.bucket = bucket
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def list(self, prefix: str = "") -> list[Entry]:
        """Return all objects whose names start with the prefix, sorted by name."""
        with errors(f"{self.uri}/{prefix}"):
            pages = self._client().get_paginator("list_objects_v2")
            found = [
                Entry(each["Key"].removeprefix(self._prefix), each["Size"], each["ETag"])
                for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix)
                for each in page.get("Contents", [])
                if not each["Key"].endswith("/")  # what consoles make for a folder
            ]
        return sorted(found, key=lambda entry: entry.name)

    def folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders directly below a prefix that ends with a slash, sorted."""
        whole = self._prefix + prefix
        with errors(f"{self.uri}/{prefix}"):
            pages = (
                self._client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self.bucket, Prefix=whole, Delimiter="/")
            )
            found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])]
        return sorted(each.removeprefix(whole).rstrip("/") for each in found)

    def entry(self, name: str) -> Entry:
        """Return an object's entry."""
        with errors(f"{self.uri}/{name}"):
            head = self._client().head_object(Bucket=self.bucket, Key=self._prefix + name)
        return Entry(name, head["ContentLength"], head["ETag"])

    def exists(self, name: str) -> bool:
        """Return whether an object exists, by a list: without the right to list, S3 refuses to say that none exists."""
        key = self._prefix + name
        with errors(f"{self.uri}/{name}"):
            page = self._client().list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
        return any(each["Key"] == key for each in page.get("Contents", []))

    def read(self, name: str) -> bytes:
        """Return a small object's content."""
        return self.stream(self.entry(name)).read()

    def stream(self, entry: Entry, start: int = 0) -> BinaryIO:
        """Open an object to read it from an offset on."""
        file = self._file(entry)
        file.seek(start)
        return io.BufferedReader(file, READ_AHEAD)

    def random_access(self, entry: Entry) -> BinaryIO:
        """Open an object for few large reads at any place."""
        return cast("BinaryIO", self._file(entry))

    def _file(self, entry: Entry) -> S3File:
        return S3File(self._client, self.bucket, self._prefix + entry.name, entry.size, entry.version)

    def write(self, name: str, content: bytes) -> None:
        """Write a small object."""
        with errors(f"{self.uri}/{name}"):
            self._client().put_object(Bucket=self.bucket, Key=self._prefix + name, Body=content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object unless one has the key; return whether it was written."""
        from botocore.exceptions import ClientError

        with errors(f"{self.uri}/{name}"):
            try:
                self._client().put_object(Bucket=self.bucket, Key=self._prefix + name, Body=content, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] not in EXISTS:
                    raise
                return False
        return True

    def write_stream(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write an object of any size, in bounded memory; S3 shows it as a whole or not at all."""
        with errors(f"{self.uri}/{name}"):
            upload(self._client(), self.bucket, self._prefix + name, blocks)

    def publish(self, name: str, path: Path) -> None:
        """Upload a finished file; S3 shows it as a whole or not at all."""
        with path.open("rb") as file, errors(f"{self.uri}/{name}"):
            self._client().put_object(Bucket=self.bucket, Key=self._prefix + name, Body=file)

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """Return the path of a new empty file in the folder for temporary files."""
        with TemporaryDirectory(prefix="bulk-") as folder:
            path = Path(folder) / "file"
            path.touch()
            yield path

    def download_url(self, name: str, seconds: int) -> str:
        """Return a presigned URL, at which anyone can download an object for some time."""
        with errors(f"{self.uri}/{name}"):
            return presigned_url(self.bucket, self._prefix + name, seconds)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, 1,000 a request; those that do not exist are no error."""
        keys = [{"Key": self._prefix + name} for name in names]
        for start in range(0, len(keys), 1000):
            with errors(self.uri):
                request = {"Objects": keys[start : start + 1000], "Quiet": True}
                failed = self._client().delete_objects(Bucket=self.bucket, Delete=request).get("Errors", [])
            if failed:
                raise BulkError(f"{self.uri}: S3 does not delete {failed[0]['Key']} ({failed[0]['Code']})")
