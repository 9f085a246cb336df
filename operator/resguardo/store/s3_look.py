"""What stands at a key: by HEAD, and for keys that may not read the object by what a listing shows of it.

S3 has no right to look that is not the right to read (https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html), and
whoever makes backups need not read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from resguardo.store.s3_errors import MISSING_CODES, code_of, status_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: A HEAD's refusal has no body, and so no code of its own.
_DENIED = 403


def look(client: S3Client, bucket: str, key: str, *, told: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """A HEAD's answer; None where nothing is. `told` is what the write's own answer said of the object, which a listing does not show.

    Raises what the HEAD raised, where the listing is refused too.
    """
    try:
        return dict(client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED"))
    except ClientError as error:
        if code_of(error) in MISSING_CODES:
            return None
        if status_of(error) != _DENIED:
            raise
        try:
            page = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        except ClientError:
            raise error from None
    for found in page.get("Contents", []):
        if found["Key"] == key:
            shown = {"ContentLength": found["Size"], "ETag": found["ETag"], "LastModified": found["LastModified"]}
            return {**(told or {}), **shown, "StorageClass": found.get("StorageClass")}
    return None
