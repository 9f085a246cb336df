"""What a policy says that can be kept, and that nobody can have meant: told as a warning, and refused by nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from resguardo.api.durations import Span, parse_span, print_age
from resguardo.api.encryption import Encryption, public_key
from resguardo.api.policy import BackupPolicySpec, PolicyWarning, Retention
from resguardo.api.schedule import next_time
from resguardo.api.signing import Signing
from resguardo.rules.locks import lock_spans
from resguardo.rules.retention import tier_spans
from resguardo.rules.storage_classes import MINIMUM_STAY
from resguardo.rules.tiers import Tier

#: From here on spans are laid side by side and the schedule is played: any other day would do. February is passed over.
_SOME_DAY = datetime(2026, 7, 1, tzinfo=UTC)
#: So many of the schedule's times show its shortest interval: a week of days, a year of months.
_TIMES = 16

TIER_TOO_SHORT = "TierTooShort"
MAX_AGE_TOO_SHORT = "MaxAgeTooShort"
CLASS_OUTLIVES_TIER = "ClassOutlivesTier"
CLASS_NOT_USED = "ClassNotUsed"
LOCK_OUTLIVES_TIER = "LockOutlivesTier"
LOCK_NOT_USED = "LockNotUsed"
ONE_RECIPIENT = "OneRecipient"
UNSIGNED_ALLOWED = "UnsignedAllowed"


def advise(spec: BackupPolicySpec) -> list[PolicyWarning]:
    """The warnings about a policy, in the order of its fields; empty for one that says nothing odd."""
    return [
        *_about_classes_and_retention(spec),
        *(_about_encryption(spec.encryption) if spec.encryption is not None else ()),
        *(_about_signing(spec.signing) if spec.signing is not None else ()),
    ]


def _about_classes_and_retention(spec: BackupPolicySpec) -> Iterator[PolicyWarning]:
    spans = tier_spans(spec.retention) if spec.retention is not None else {}
    if spec.retention is not None:
        yield from _about_retention(spec.retention, spec)
        yield from _about_classes(spec.store.classes, spans)
    yield from _about_unused_classes(spec.store.classes, spans)
    yield from _about_locks(lock_spans(spec.store.object_lock), spans)


def _about_encryption(encryption: Encryption) -> Iterator[PolicyWarning]:
    if encryption.age is not None and len({public_key(text) for text in encryption.age.recipients}) == 1:
        yield PolicyWarning(
            reason=ONE_RECIPIENT,
            message="encryption.age.recipients names one recipient: who loses its identity loses every backup. Name a second "
            "one that is kept offline",
        )


def _about_signing(signing: Signing) -> Iterator[PolicyWarning]:
    if signing.allow_unsigned:
        yield PolicyWarning(
            reason=UNSIGNED_ALLOWED,
            message="signing.allowUnsigned is true: signatures are made, and a backup without one counts all the same. Take it away "
            "once those from before are gone",
        )


def _about_retention(retention: Retention, spec: BackupPolicySpec) -> Iterator[PolicyWarning]:
    interval = shortest_interval(spec.schedule, spec.time_zone)
    max_age = parse_span(retention.max_age) if retention.max_age is not None else None
    for tier, span in tier_spans(retention).items():
        if interval is not None and is_shorter(span, interval):
            yield PolicyWarning(
                reason=TIER_TOO_SHORT,
                message=f"retention.{tier} is {span}, shorter than the {print_age(interval)} between two backups: it keeps "
                "hardly more than the newest one",
            )
        if max_age is not None and is_shorter(max_age, span):
            yield PolicyWarning(
                reason=MAX_AGE_TOO_SHORT,
                message=f"retention.{tier} is {span}, and nothing is kept for longer than maxAge, {max_age}",
            )
    if max_age is not None and interval is not None and is_shorter(max_age, interval):
        yield PolicyWarning(
            reason=MAX_AGE_TOO_SHORT,
            message=f"retention.maxAge is {max_age}, shorter than the {print_age(interval)} between two backups: there is never "
            "more than one",
        )


def _about_classes(classes: Mapping[str, str], spans: Mapping[Tier, Span]) -> Iterator[PolicyWarning]:
    for tier, span in spans.items():
        storage_class = classes.get(tier.value, "")
        stay = MINIMUM_STAY.get(storage_class)
        if stay is not None and is_shorter(span, stay):
            yield PolicyWarning(
                reason=CLASS_OUTLIVES_TIER,
                message=f"storageClasses.{tier} is {storage_class}, in which everything is paid for {stay.days} days, and retention.{tier} is "
                f"{span}: a class without such a minimum may cost less",
            )


def _about_unused_classes(classes: Mapping[str, str], spans: Mapping[Tier, Span]) -> Iterator[PolicyWarning]:
    for name in (name for name in classes if name not in spans):
        yield PolicyWarning(
            reason=CLASS_NOT_USED,
            message=f"storageClasses.{name} is {classes[name]}, and no backup is ever in it: there is no retention.{name}",
        )


def _about_locks(locks: Mapping[Tier, Span], spans: Mapping[Tier, Span]) -> Iterator[PolicyWarning]:
    for tier, lock in locks.items():
        if tier not in spans:
            yield PolicyWarning(
                reason=LOCK_NOT_USED,
                message=f"objectLock.byTier.{tier} is {lock}, and no backup is ever locked by it: there is no retention.{tier}",
            )
        elif is_shorter(spans[tier], lock):
            yield PolicyWarning(
                reason=LOCK_OUTLIVES_TIER,
                message=f"objectLock.byTier.{tier} is {lock}, and retention.{tier} is {spans[tier]}: backups stay, and are paid for, "
                "until their lock is over",
            )


def is_shorter(span: Span, other: Span | timedelta) -> bool:
    """Whether something kept for `span` goes before something of the same day that is kept for `other`."""
    end = other.after(_SOME_DAY) if isinstance(other, Span) else _SOME_DAY + other
    return span.after(_SOME_DAY) < end


@lru_cache(maxsize=1024)
def shortest_interval(schedule: str, zone: str) -> timedelta | None:
    """The least time between two backups; None where the schedule names less than two times."""
    times = [_SOME_DAY]
    try:
        for _ in range(_TIMES):
            times.append(next_time(schedule, zone, times[-1]))
    except ValueError:
        pass
    return min((later - earlier for earlier, later in pairwise(times[1:])), default=None)
