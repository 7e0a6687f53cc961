"""`python -m model_artifacts.recipe.publish`: uploads a model to a bucket, or lists the models in a bucket."""

import argparse
import base64
import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from tqdm import tqdm

from handler.artifacts.manifest import MANIFEST_FILE, Manifest, Reference, sha256_of
from handler.artifacts.resolver import map_checked
from handler.artifacts.s3 import blob_key, manifest_key
from handler.errors import ArtifactError
from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.image import find_model

PREFIX = "models/"  # the template grants the function read access to this prefix
BUCKET_NAME = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
IMMUTABLE = {"IfNoneMatch": "*"}


class PublishError(Exception):
    """The model cannot be published."""


def main() -> None:
    """Publish or list."""
    parser = argparse.ArgumentParser(description="Publish a model to a bucket, or list the models there.")
    parser.add_argument("--bucket", required=True)
    parser.add_argument(
        "--model", metavar="NAME", help="a model in model_artifacts/, or a folder that contains one; without it, list"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be uploaded, and upload nothing")
    arguments = parser.parse_args()
    try:
        if arguments.model:
            folder = find_model(arguments.model)
            s3 = _connect(arguments.bucket)
            pinned = publish(s3, folder, arguments.bucket, dry_run=arguments.dry_run)
            print(f"{'would be' if arguments.dry_run else 'published:'} {pinned}")
            print(f"deploy it: sam deploy --parameter-overrides Models={pinned}")
        else:
            s3 = _connect(arguments.bucket)
            print("\n".join(published(s3, arguments.bucket)) or f"no model in s3://{arguments.bucket}/{PREFIX}")
    except (ArtifactError, PublishError, SourceError, OSError, ValueError, BotoCoreError, ClientError) as error:
        sys.exit(f"make {'publish' if arguments.model else 'models'}: {error}")


def _connect(bucket: str) -> Any:
    """Return a client of S3, once it has found the bucket.

    Raises:
        PublishError: the name is invalid, or there is no such bucket.
    """
    if not re.fullmatch(BUCKET_NAME, bucket):
        raise PublishError(f"BUCKET is '{bucket}': write only the bucket's name, such as BUCKET=my-models")
    s3 = boto3.client("s3")
    try:
        s3.head_bucket(Bucket=bucket)  # a missing bucket would look like one that lacks every object
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        raise PublishError(f"BUCKET is '{bucket}': there is no such bucket; create it, or correct the name") from error
    return s3


def publish(s3: Any, folder: Path, bucket: str, *, dry_run: bool = False) -> Reference:
    """Upload the objects that the bucket lacks, then update the pointer to the current model.

    Objects are named by their digest and written once. So repeated and interrupted runs end in the same state, and
    concurrent runs cannot leave a pointer to a missing object. Returns the pinned reference.

    Raises:
        ArtifactError: a file does not match the manifest.
        PublishError: an object in the bucket does not match the digest in its name.
    """
    content = (folder / MANIFEST_FILE).read_bytes()
    manifest = Manifest.parse(content)
    pinned = Reference(manifest.id, sha256_of(content), bucket, PREFIX)
    blobs = {
        blob_key(pinned, file.sha256): map_checked(folder / name, file)[:] for name, file in manifest.files.items()
    }
    contents = {**blobs, manifest_key(pinned): content}
    missing = {key: blob for key, blob in contents.items() if not _exists(s3, bucket, key, blob)}
    with tqdm(total=sum(map(len, missing.values())), unit="B", unit_scale=True, disable=dry_run or None) as bar:
        for key, blob in missing.items():
            bar.write(f"{len(blob):12,}  {key}", file=sys.stdout if dry_run else sys.stderr)
            if not dry_run:
                _upload(s3, bucket, key, blob, bar)
    current = Reference(manifest.id, None, bucket, PREFIX)
    if not dry_run and not _exists(s3, bucket, manifest_key(current), content, immutable=False):
        s3.put_object(Bucket=bucket, Key=manifest_key(current), Body=content, **_checksum(content))
    return pinned


def published(s3: Any, bucket: str) -> Iterator[str]:
    """Yield a line for every published manifest: pinned reference, size, date; an asterisk marks the current one."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX)
    objects = {each["Key"]: each for page in pages for each in page.get("Contents", [])}
    for key in sorted(objects):
        name, _, rest = key.removeprefix(PREFIX).partition("/")
        if not rest.startswith("manifests/"):
            continue
        content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        pinned = Reference(name, sha256_of(content), bucket, PREFIX)
        pointer = objects.get(manifest_key(Reference(name, None, bucket, PREFIX)))
        current = "*" if pointer and pointer["ETag"] == objects[key]["ETag"] else " "
        size = sum(file.size for file in Manifest.parse(content).files.values())
        yield f"{current} {pinned}  {size / 1e6:.1f} MB  {objects[key]['LastModified']:%Y-%m-%d %H:%M}"


def _upload(s3: Any, bucket: str, key: str, content: bytes, bar: "tqdm[Any]") -> None:
    before = bar.n

    class Body(BytesIO):
        """Sets the progress bar to the read position; a retry reads from the start again."""

        def read(self, size: int | None = -1) -> bytes:
            read = super().read(size)
            bar.update(before + self.tell() - bar.n)
            return read

    try:
        s3.put_object(Bucket=bucket, Key=key, Body=Body(content), **IMMUTABLE, **_checksum(content))
    except ClientError as error:
        # A concurrent run has written the object or is writing it: if it exists now, it has to be the same.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in {409, 412}:
            raise
        if not _exists(s3, bucket, key, content):
            raise PublishError(f"s3://{bucket}/{key} is being written by another run; run it again") from error
    bar.update(before + len(content) - bar.n)


def _exists(s3: Any, bucket: str, key: str, content: bytes, *, immutable: bool = True) -> bool:
    """Return whether an object exists with this content.

    Raises:
        PublishError: an immutable object exists with other content.
    """
    try:
        head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    expected = _checksum(content)["ChecksumSHA256"]
    same: bool = head["ContentLength"] == len(content) and head.get("ChecksumSHA256", expected) == expected
    if immutable and not same:
        raise PublishError(f"s3://{bucket}/{key} does not match the digest in its name; delete it and publish again")
    return same


def _checksum(content: bytes) -> dict[str, str]:
    return {"ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256_of(content))).decode()}


if __name__ == "__main__":
    main()
