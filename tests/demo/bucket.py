"""The demo's bucket: made by it, marked by it, and emptied only when it carries the mark."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.demo.surroundings import Surroundings

BUCKET = "agepar-backups"
MARK = "made-by-the-demo-and-may-be-emptied"


class BucketError(Exception):
    """The bucket cannot be made ready; the message says why."""


def fresh_bucket(place: Surroundings) -> None:
    """Make the bucket, or empty the one that the demo made earlier. Raises BucketError."""
    try:
        client = _client(place)
        names = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        if BUCKET not in names:
            client.create_bucket(Bucket=BUCKET)
        else:
            _empty(client)
        client.put_object(Bucket=BUCKET, Key=MARK, Body=b"")
    except (BotoCoreError, ClientError) as error:
        raise BucketError(f"bucket {BUCKET} at {place.s3_endpoint}: {error}") from error


def keys(place: Surroundings, prefix: str) -> list[str]:
    """The keys under a prefix, sorted."""
    pages = _client(place).get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def _empty(client: Any) -> None:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    found = [item["Key"] for page in pages for item in page.get("Contents", [])]
    if found and MARK not in found:
        raise BucketError(
            f"bucket {BUCKET} exists and was not made by the demo (it holds no {MARK}); nothing was touched. "
            "Give another S3 server"
        )
    for key in sorted(found, key=lambda name: name == MARK):  # the mark last: an emptying that stops half-way can go on
        client.delete_object(Bucket=BUCKET, Key=key)
    for upload in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])


def _client(place: Surroundings) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=place.s3_endpoint,
        region_name=place.s3_region,
        aws_access_key_id=place.s3_access_key,
        aws_secret_access_key=place.s3_secret_key,
        verify=str(place.s3_ca) if place.s3_ca else None,
        config=Config(
            s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 3},
            request_checksum_calculation="when_required",
        ),
    )  # fmt: skip
