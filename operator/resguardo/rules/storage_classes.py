"""Which storage class a backup's dump is kept in, and for how long a class is paid for at the least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from resguardo.api.manifest import Trigger
from resguardo.api.policy import Retention
from resguardo.rules.retention import kept_like
from resguardo.rules.tiers import Tier

#: What is removed sooner is paid for as long as this (https://aws.amazon.com/s3/storage-classes/, "Minimum storage duration
#: charge", in the table "Performance across the S3 storage classes"; of Azure's tiers
#: https://learn.microsoft.com/azure/storage/blobs/access-tiers-overview, "Summary of access tier options").
MINIMUM_STAY: Mapping[str, timedelta] = {
    "STANDARD_IA": timedelta(days=30),
    "ONEZONE_IA": timedelta(days=30),
    "GLACIER_IR": timedelta(days=90),
    "GLACIER": timedelta(days=90),
    "DEEP_ARCHIVE": timedelta(days=180),
    "Cool": timedelta(days=30),
    "Cold": timedelta(days=90),
    "Archive": timedelta(days=180),
}


def class_of(
    tiers: Sequence[Tier], trigger: Trigger, retention: Retention | None, classes: Mapping[str, str]
) -> str | None:
    """The class that the policy gives a backup; None for the store's usual one.

    `tiers` are those for which it will stand, the shortest first: the longest decides. A manual backup stands for nothing
    and is kept as long as a daily one, or an hourly where there are no daily ones: it has their class.
    """
    kept_as = kept_like(tiers, trigger, retention)
    return classes.get(kept_as[-1].value) if kept_as else None
