"""The two kinds of model: what users write is strict, what machines exchange over versions is tolerant to read."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel


class Written(BaseModel):
    """Base of what a person writes: unknown fields are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Exchanged(BaseModel):
    """Base of what versions of Resguardo exchange (Report, Manifest, Census): unknown fields are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> str:
        """Compact JSON with camelCase keys and without absent fields."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


def to_utc(moment: datetime) -> datetime:
    """The same instant in UTC; a time without a zone raises ValueError, since nobody can say which instant it is."""
    if moment.tzinfo is None:
        raise ValueError("needs a time zone, such as 2026-11-23T02:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside of the years 1 to 9999 in UTC") from None


def print_time(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, as Kubernetes prints times.

    >>> print_time(datetime(2026, 11, 23, 5, 0, tzinfo=UTC))
    '2026-11-23T05:00:00Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


#: An instant, kept in UTC and printed as Kubernetes prints it.
Instant = Annotated[datetime, AfterValidator(to_utc), PlainSerializer(print_time, return_type=str, when_used="json")]


EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def _reachable(moment: datetime) -> datetime:
    if not EARLIEST <= moment <= LATEST:
        raise ValueError("is a time at which nothing was ever done")
    return moment


#: An instant of something that was done. Bounded, so that a zone or a timeout can be added to whatever stands in a bucket.
Moment = Annotated[Instant, AfterValidator(_reachable)]

#: Far beyond every size and count of ours, and within the 64 bits in which the API server keeps a whole number.
WHOLE_MAX = 2**62

#: A size or count as machines exchange it: bounded, since what stands in a bucket or a Report may be anybody's, and the API
#: server refuses a whole status for one number beyond 64 bits.
Whole = Annotated[int, Field(ge=0, le=WHOLE_MAX)]


def canonical_hash(document: Any, *, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 over the document's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
