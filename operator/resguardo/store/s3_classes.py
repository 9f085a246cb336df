"""Storage classes of S3, and bringing objects back from those that are archives.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from resguardo.store.protocol import Availability
from resguardo.store.s3_errors import FAILURES, MISSING_CODES, Request, code_of, translate

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: HEAD says nothing of an object that is in this one.
USUAL_CLASS = "STANDARD"
#: What lies in one of these is not read, but asked for.
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
#: Of Expedited, Standard and Bulk: the fastest that both archives know.
RETRIEVAL = "Standard"
_ASKED_ALREADY = "RestoreAlreadyInProgress"


def class_of(head: Mapping[str, Any]) -> str:
    """In which class an object is, by a HEAD's answer."""
    return str(head.get("StorageClass") or USUAL_CLASS)


class S3Archive:
    """`protocol.Store.availability` and `bring_back` for one bucket; `place` is any request there, whose key is the prefix."""

    def __init__(self, client: S3Client, place: Request) -> None:
        self._client, self._place, self._prefix = client, place, place.key

    def availability(self, key: str) -> Availability | None:
        """By the class, and by what the store says about an object that somebody asked for."""
        full = self._prefix + key
        try:
            answer = self._client.head_object(Bucket=self._place.bucket, Key=full)
        except FAILURES as error:
            if code_of(error) in MISSING_CODES:
                return None
            raise translate(error, replace(self._place, action="s3:GetObject", key=full)) from error
        if class_of(answer) not in ARCHIVES:
            return Availability.READY
        # ongoing-request="true"; or ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"
        asked = re.search(r'ongoing-request="(true|false)"', answer.get("Restore", ""))
        if asked is None:
            return Availability.FROZEN
        return Availability.COMING_BACK if asked[1] == "true" else Availability.READY

    def bring_back(self, key: str, *, keep: timedelta) -> None:
        """Ask for a copy that can be read, for whole days."""
        full = self._prefix + key
        try:
            self._client.restore_object(
                Bucket=self._place.bucket,
                Key=full,
                RestoreRequest={
                    "Days": max(1, math.ceil(keep / timedelta(days=1))),
                    "GlacierJobParameters": {"Tier": RETRIEVAL},  # type: ignore[typeddict-item, unused-ignore]
                },
            )
        except FAILURES as error:
            if code_of(error) != _ASKED_ALREADY:
                raise translate(error, replace(self._place, action="s3:RestoreObject", key=full)) from error
