"""A backup's class: that of the longest tier for which it will stand."""

from __future__ import annotations

import pytest

from resguardo.api.manifest import Trigger
from resguardo.api.policy import Retention
from resguardo.rules.storage_classes import class_of
from resguardo.rules.tiers import Tier

CLASSES = {"hourly": "H", "daily": "D", "monthly": "M"}
DAILY = Retention(daily="30d", weekly="3mo", monthly="1y")
HOURLY = Retention(hourly="36h", weekly="3mo")


@pytest.mark.parametrize(
    ("tiers", "trigger", "retention", "expected"),
    [
        pytest.param([Tier.DAILY], Trigger.SCHEDULED, DAILY, "D", id="its only tier"),
        pytest.param([Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY], Trigger.SCHEDULED, DAILY, "M", id="the longest of several"),
        pytest.param([Tier.DAILY, Tier.WEEKLY], Trigger.SCHEDULED, DAILY, None, id="a longest tier without a class"),
        pytest.param([], Trigger.SCHEDULED, DAILY, None, id="no tier: soon removed"),
        pytest.param([], Trigger.MANUAL, DAILY, "D", id="a manual one is kept like a daily one"),
        pytest.param([], Trigger.MANUAL, HOURLY, "H", id="or like an hourly one"),
        pytest.param([], Trigger.MANUAL, Retention(monthly="1y"), None, id="where there is neither it is soon removed"),
        pytest.param([], Trigger.MANUAL, None, None, id="without retention there are no tiers"),
    ],
)  # fmt: skip
def test_the_class_of_a_backup(
    tiers: list[Tier], trigger: Trigger, retention: Retention | None, expected: str | None
) -> None:
    assert class_of(tiers, trigger, retention, CLASSES) == expected
