"""What a policy earns a warning for, and what it does not."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from resguardo.api.durations import Span, parse_span
from resguardo.api.policy import BackupPolicySpec, BackupPolicyStatus
from resguardo.controller.policy_status import transitions
from resguardo.rules.advice import advise, is_shorter, shortest_interval
from tests.fixtures.specs import POLICY, SIGNER
from tests.unit.small_cluster import World

DAILY, WEEKDAYS, WEEKLY, MONTHLY, EVERY_SIX_HOURS = "0 2 * * *", "0 2 * * 1-5", "0 2 * * 0", "0 2 1 * *", "0 */6 * * *"


RECIPIENT, OFFLINE = "age1" + "q" * 58, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"


@pytest.mark.parametrize(
    ("recipients", "reasons"),
    [
        ([RECIPIENT, OFFLINE], []),
        ([RECIPIENT], ["OneRecipient"]),
        ([OFFLINE, f"{OFFLINE} ana@portal"], ["OneRecipient"]),
    ],
)
def test_one_recipient_is_too_few(recipients: list[str], reasons: list[str]) -> None:
    changed = copy.deepcopy(POLICY["spec"]) | {"encryption": {"age": {"recipients": recipients}}}
    assert [warning.reason for warning in advise(BackupPolicySpec.model_validate(changed))] == reasons


@pytest.mark.parametrize(("allowed", "reasons"), [(True, ["UnsignedAllowed"]), (False, [])])
def test_a_way_out_that_stays_open_is_told(allowed: bool, reasons: list[str]) -> None:
    signing = {"keySecretRef": {"name": "signing"}, "publicKeys": [SIGNER], "allowUnsigned": allowed}
    changed = copy.deepcopy(POLICY["spec"]) | {"signing": signing}
    assert [warning.reason for warning in advise(BackupPolicySpec.model_validate(changed))] == reasons


@pytest.mark.parametrize(
    ("by_tier", "reasons"),
    [
        ({"daily": "30d", "weekly": "84d"}, []),
        ({"daily": "31d"}, ["LockOutlivesTier"]),
        ({"daily": "31d", "monthly": "1y"}, ["LockOutlivesTier", "LockNotUsed"]),
    ],
)
def test_a_lock_is_for_a_tier_that_is_kept_and_no_longer_than_that(by_tier: dict[str, str], reasons: list[str]) -> None:
    changed = copy.deepcopy(POLICY["spec"]) | {"retention": {"daily": "30d", "weekly": "84d"}}
    changed["store"]["s3"]["objectLock"] = {"mode": "Governance", "byTier": by_tier}
    assert [warning.reason for warning in advise(BackupPolicySpec.model_validate(changed))] == reasons


def spec(schedule: str, retention: dict[str, Any] | None) -> BackupPolicySpec:
    changed = copy.deepcopy(POLICY["spec"]) | {"schedule": schedule, "timeZone": "UTC", "retention": retention}
    return BackupPolicySpec.model_validate(changed)


@pytest.mark.parametrize(
    ("schedule", "retention"),
    [
        (DAILY, None),
        (DAILY, {"daily": "30d", "weekly": "3mo", "monthly": "1y", "maxAge": "1y"}),
        (DAILY, {"daily": "1d"}),
        (DAILY, {"hourly": "24h", "maxAge": "1d"}),
        (WEEKDAYS, {"daily": "2d"}),
        (WEEKLY, {"daily": "30d"}),
        (MONTHLY, {"monthly": "1mo"}),
        (EVERY_SIX_HOURS, {"hourly": "6h"}),
    ],
)
def test_what_can_be_meant_earns_none(schedule: str, retention: dict[str, Any] | None) -> None:
    assert advise(spec(schedule, retention)) == []


@pytest.mark.parametrize(
    ("schedule", "retention", "reason", "message"),
    [
        pytest.param(
            DAILY, {"daily": "23h"}, "TierTooShort",
            "retention.daily is 23h, shorter than the 24h between two backups: it keeps hardly more than the newest one",
            id="a tier shorter than a day, of daily backups",
        ),
        pytest.param(WEEKLY, {"daily": "6d", "weekly": "3mo"}, "TierTooShort", "retention.daily is 6d, shorter than the 7d", id="weekly"),
        pytest.param(MONTHLY, {"monthly": "3w"}, "TierTooShort", "retention.monthly is 3w, shorter than the 28d", id="monthly"),
        pytest.param(EVERY_SIX_HOURS, {"hourly": "5h"}, "TierTooShort", "retention.hourly is 5h, shorter than the 6h", id="hours"),
        pytest.param(
            DAILY, {"daily": "30d", "monthly": "1y", "maxAge": "6mo"}, "MaxAgeTooShort",
            "retention.monthly is 1y, and nothing is kept for longer than maxAge, 6mo", id="a tier longer than maxAge",
        ),
        pytest.param(
            WEEKLY, {"weekly": "6d", "maxAge": "6d"}, "MaxAgeTooShort",
            "retention.maxAge is 6d, shorter than the 7d between two backups: there is never more than one", id="maxAge",
        ),
    ],
)  # fmt: skip
def test_what_cannot(schedule: str, retention: dict[str, Any], reason: str, message: str) -> None:
    told = advise(spec(schedule, retention))[-1]
    assert told.reason == reason
    assert told.message.startswith(message)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ({"daily": "GLACIER_IR"}, "storageClasses.daily is GLACIER_IR, in which everything is paid for 90 days, and retention.daily is 30d"),
        ({"daily": "STANDARD_IA", "weekly": "GLACIER"}, ""),
        ({"weekly": "DEEP_ARCHIVE"}, "storageClasses.weekly is DEEP_ARCHIVE, in which everything is paid for 180 days"),
        ({"monthly": "DEEP_ARCHIVE", "daily": "A_CLASS_OF_ANOTHER_STORE"}, ""),
        ({"yearly": "GLACIER"}, "storageClasses.yearly is GLACIER, and no backup is ever in it: there is no retention.yearly"),
    ],
)  # fmt: skip
def test_a_class_that_is_paid_for_longer_than_its_tier_is_kept(classes: dict[str, str], told: str) -> None:
    document = copy.deepcopy(POLICY["spec"]) | {"retention": {"daily": "30d", "weekly": "3mo", "monthly": "1y"}}
    document["store"]["s3"]["storageClasses"] = classes
    messages = [warning.message for warning in advise(BackupPolicySpec.model_validate(document))]
    assert len(messages) == bool(told)
    assert "".join(messages).startswith(told)


@pytest.mark.parametrize(
    ("schedule", "zone", "interval"),
    [
        ("*/5 * * * *", "UTC", timedelta(minutes=5)),
        (DAILY, "America/Sao_Paulo", timedelta(days=1)),
        (WEEKDAYS, "UTC", timedelta(days=1)),
        ("0 2 1,15 * *", "UTC", timedelta(days=14)),
        ("@yearly", "UTC", timedelta(days=365)),
        ("0 0 29 2 *", "UTC", timedelta(days=1461)),
    ],
)
def test_the_shortest_interval_of_a_schedule(schedule: str, zone: str, interval: timedelta) -> None:
    assert shortest_interval(schedule, zone) == interval


@pytest.mark.parametrize(
    ("span", "other", "shorter"),
    [("30d", "1mo", True), ("31d", "1mo", False), ("12mo", "1y", False), ("1y", "366d", True), ("52w", "1y", True)],
)
def test_spans_are_laid_side_by_side(span: str, other: str, shorter: bool) -> None:
    assert is_shorter(parse_span(span), parse_span(other)) is shorter
    assert not is_shorter(Span(1, "d"), timedelta(days=1))


def test_a_policys_status_has_them_and_each_is_an_event_once(world: World) -> None:
    world.accepted_policy(spec__retention={"daily": "12h"})
    (warning,) = world.status()["warnings"]
    assert warning["reason"] == "TierTooShort"
    assert world.condition("Ready") == ("True", "PromiseKept")
    world.pass_time(days=1)
    assert world.told().count("TierTooShort") == 1
    told = BackupPolicyStatus.model_validate(world.status())
    assert transitions(told, told) == (), "nor told to the API server again"
