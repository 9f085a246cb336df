"""The alerts that ship, evaluated by Prometheus' own promtool: each fires when it should, after its time, and not otherwise.

What is tested is what Helm renders. Time is the minute of the evaluation, from 0.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.rendering import kustomized, only, templated
from tests.fixtures.cluster import ROOT, Cluster

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here: it is in Debian's package prometheus"
)

JOB = "resguardo-operator"
RULES_ON = ("metrics.prometheusRule.enabled=true", "metrics.serviceMonitor.enabled=true")
DAY = 24 * 60
#: 10 hours after the start.
LATE_AT = 36_000
LATE_SERIES = (
    f'resguardo_backup_late_timestamp_seconds{{job="{JOB}", instance="a", namespace="agepar", policy="portal"}}'
)
PORTAL = {"job": JOB, "namespace": "agepar", "policy": "portal"}
LATE = ("critical", PORTAL, "No good backup of agepar/portal in the time that its schedule promises.")
ABSENT = ("critical", {"job": JOB}, "Prometheus hears nothing from the Resguardo operator.")


def up(values: str = "1x6000", since: str = "0x6000", instance: str = "a") -> dict[str, str]:
    """An operator's own series: whether it is there, and when it was started."""
    labels = f'job="{JOB}", instance="{instance}"'
    return {f"resguardo_build_info{{{labels}}}": values, f"process_start_time_seconds{{{labels}}}": since}


def condition(kind: str, status: str, reason: str, values: str = "1x6000") -> dict[str, str]:
    """The series of a policy's condition."""
    labels = f'job="{JOB}", instance="a", namespace="agepar", policy="portal"'
    return {f'resguardo_policy_condition{{{labels}, type="{kind}", status="{status}", reason="{reason}"}}': values}


Alert = tuple[str, dict[str, str], str]


@dataclass(frozen=True)
class Case:
    """What Prometheus has, and which alerts fire at which minutes: none, or severity, labels and summary."""

    alert: str
    series: dict[str, str]
    at: dict[int, list[Alert]] = field(default_factory=dict)
    #: Minutes between two samples and two evaluations.
    step: int = 1


def _caused(severity: str, reason: str, summary: str) -> Alert:
    return severity, {**PORTAL, "reason": reason}, summary


FAILED = _caused("warning", "DumpFailed", "The newest backup of agepar/portal failed, or cannot start: DumpFailed.")
GREW = _caused("warning", "Grew", "The newest backup of agepar/portal is much larger than those before it.")
PAUSED = _caused("warning", "TooMuchAtOnce", "Retention of agepar/portal pauses or fails: TooMuchAtOnce.")
REFUSED = _caused("warning", "PrefixOwned", "No backup of agepar/portal is scheduled: PrefixOwned.")
STALE = ("warning", PORTAL, "Retention of agepar/portal has not ended well for 3d 0h 40m 0s.")


def _shrank(reason: str) -> Alert:
    return _caused("critical", reason, f"The newest backup of agepar/portal has lost something: {reason}.")


CASES = {
    "late, five minutes after the moment that was told": Case(
        "ResguardoBackupLate", {**up(), LATE_SERIES: f"{LATE_AT}x700"}, {605: [], 606: [LATE]}
    ),
    "not late: a newer backup came in time": Case(
        "ResguardoBackupLate",
        {**up(), LATE_SERIES: f"{LATE_AT}x598 {LATE_AT + 86400}x1000"},
        {600: [], 606: [], 1500: []},
    ),
    "late no more: a newer backup came too late": Case(
        "ResguardoBackupLate",
        {**up(), LATE_SERIES: f"{LATE_AT}x649 {LATE_AT + 86400}x1000"},
        {649: [LATE], 651: []},
    ),
    "late while the operator is down, though it told nothing for hours": Case(
        "ResguardoBackupLate",
        {**up("1x300 stale", "0x300 stale"), LATE_SERIES: f"{LATE_AT}x300 stale"},
        {605: [], 606: [LATE], 1500: [LATE]},
    ),
    "late while the operator is down, and an older operator's series lingers": Case(
        "ResguardoBackupLate",
        {
            **up("1x300 stale", "0x300 stale"),
            LATE_SERIES: f"{LATE_AT}x300 stale",
            LATE_SERIES.replace('"a"', '"b"'): f"{LATE_AT - 20_000}x300 stale",
        },
        {605: [], 606: [LATE]},
    ),
    "not late: the policy was deleted, or suspended": Case(
        "ResguardoBackupLate", {**up(), LATE_SERIES: f"{LATE_AT}x300 stale"}, {606: [], 1000: []}
    ),
    "not late: deleted shortly before the operator went down": Case(
        "ResguardoBackupLate",
        {**up("1x303 stale", "0x303 stale"), LATE_SERIES: f"{LATE_AT}x300 stale"},
        {606: [], 1000: []},
    ),
    "still late while the operator is exchanged, and before it has told of every policy again": Case(
        "ResguardoBackupLate",
        {
            **up("1x650 stale", "0x650 stale"),
            LATE_SERIES: f"{LATE_AT}x650 stale",
            **up("_x652 1x300", f"_x652 {652 * 60}x300", instance="b"),
            LATE_SERIES.replace('"a"', '"b"'): f"_x655 {LATE_AT}x300",
        },
        {minute: [LATE] for minute in range(649, 662)},
    ),
    "deleted while the operator was down: told until the operator is back for five minutes": Case(
        "ResguardoBackupLate",
        {
            **up("1x300 stale", "0x300 stale"),
            LATE_SERIES: f"{LATE_AT}x300 stale",
            **up("_x620 1x300", f"_x620 {620 * 60}x300", instance="b"),
        },
        {619: [LATE], 624: [LATE], 627: []},
    ),
    "late is another operator's to tell": Case(
        "ResguardoBackupLate",
        {key.replace(JOB, f"{JOB}-second"): values for key, values in {**up(), LATE_SERIES: f"{LATE_AT}x700"}.items()},
        {606: []},
    ),
    "failed, for five minutes": Case(
        "ResguardoBackupFailed", {**up(), **condition("BackedUp", "False", "DumpFailed")}, {4: [], 5: [FAILED]}
    ),
    "failed, until a backup succeeds": Case(
        "ResguardoBackupFailed",
        {
            **condition("BackedUp", "False", "DumpFailed", "1x60 stale"),
            **condition("BackedUp", "True", "BackupSucceeded", "_x60 1x60"),
        },
        {60: [FAILED], 61: []},
    ),
    "not failed: late has an alert of its own": Case(
        "ResguardoBackupFailed", condition("BackedUp", "False", "Late"), {60: []}
    ),
    "not failed: nobody knows yet": Case(
        "ResguardoBackupFailed", condition("BackedUp", "Unknown", "ReportLost"), {60: []}
    ),
    "not failed: another condition": Case("ResguardoBackupFailed", condition("Ready", "False", "DumpFailed"), {60: []}),
    **{
        f"shrank at once: {reason}": Case(
            "ResguardoBackupShrank", condition("SizeNormal", "False", reason), {0: [_shrank(reason)]}
        )
        for reason in ("Shrank", "NoTables", "TablesEmptied")
    },
    "not shrank: it grew": Case("ResguardoBackupShrank", condition("SizeNormal", "False", "Grew"), {60: []}),
    "not shrank: as usual": Case("ResguardoBackupShrank", condition("SizeNormal", "True", "AsUsual"), {60: []}),
    "grew at once": Case("ResguardoBackupGrew", condition("SizeNormal", "False", "Grew"), {0: [GREW]}),
    "not grew: it shrank": Case("ResguardoBackupGrew", condition("SizeNormal", "False", "Shrank"), {60: []}),
    "retention pauses, for half an hour": Case(
        "ResguardoRetentionPaused", condition("Retained", "False", "TooMuchAtOnce"), {29: [], 30: [PAUSED]}
    ),
    "retention does not pause: it has not run yet": Case(
        "ResguardoRetentionPaused", condition("Retained", "Unknown", "NeverRun"), {60: []}
    ),
    "retention was not enforced for three days": Case(
        "ResguardoRetentionNotEnforced",
        {
            LATE_SERIES.replace("backup_late", "retention_last_success"): "0x6000",
            **condition("Retained", "True", "RetentionEnforced"),
        },
        {3 * DAY + 30: [], 3 * DAY + 40: [STALE]},
        step=10,
    ),
    "retention was enforced yesterday": Case(
        "ResguardoRetentionNotEnforced",
        {LATE_SERIES.replace("backup_late", "retention_last_success"): f"0x{2 * DAY // 10} {2 * DAY * 60}x600"},
        {3 * DAY + 40: [], 5 * DAY: []},
        step=10,
    ),
    **{
        f"retention is not wanted: {reason}": Case(
            "ResguardoRetentionNotEnforced",
            {
                LATE_SERIES.replace("backup_late", "retention_last_success"): "0x6000",
                **condition("Retained", "Unknown", reason),
            },
            {4 * DAY: []},
            step=10,
        )
        for reason in ("Suspended", "NotEnforced")
    },
    "not accepted, for a quarter of an hour": Case(
        "ResguardoPolicyNotAccepted", condition("Accepted", "False", "PrefixOwned"), {14: [], 15: [REFUSED]}
    ),
    "not refused: a check runs": Case(
        "ResguardoPolicyNotAccepted", condition("Accepted", "Unknown", "Checking"), {60: []}
    ),
    "no operator from the start": Case("ResguardoOperatorAbsent", {}, {9: [], 10: [ABSENT]}),
    "the operator is gone": Case("ResguardoOperatorAbsent", up("1x60 stale"), {60: [], 70: [], 71: [ABSENT]}),
    "the operator was exchanged": Case(
        "ResguardoOperatorAbsent",
        {**up("1x60 stale"), **up("_x69 1x60", instance="b")},
        {minute: [] for minute in range(60, 90)},
    ),
    "another operator is no substitute": Case(
        "ResguardoOperatorAbsent",
        {key.replace(JOB, f"{JOB}-second"): values for key, values in up().items()},
        {10: [ABSENT]},
    ),
}


@pytest.fixture(scope="module")
def rules(cluster: Cluster) -> dict[str, Any]:
    """The rule file that Helm renders."""
    spec: dict[str, Any] = only(templated(cluster, *RULES_ON), "PrometheusRule", JOB)["spec"]
    return spec


def _alerts(rules: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


def _promtool(*args: str, folder: Path) -> str:
    done = subprocess.run(["promtool", *args], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_reads_the_rules_and_every_text_of_them(rules: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    assert "9 rules found" in _promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", folder=tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_not_otherwise(rules: dict[str, Any], tmp_path: Path, name: str) -> None:
    case = CASES[name]
    short = {
        "groups": [
            {
                **group,
                # The long texts would have to be repeated here; promtool compares them whole.
                "rules": [
                    {**rule, "annotations": {"summary": rule["annotations"]["summary"]}} if "alert" in rule else rule
                    for rule in group["rules"]
                ],
            }
            for group in rules["groups"]
        ]
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(short))
    test = {
        "interval": f"{case.step}m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [
            {
                "eval_time": f"{minute}m",
                "alertname": case.alert,
                "exp_alerts": [
                    {"exp_labels": {"severity": severity, **labels}, "exp_annotations": {"summary": summary}}
                    for severity, labels, summary in alerts
                ],
            }
            for minute, alerts in case.at.items()
        ],
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{case.step}m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    _promtool("test", "rules", "test.yaml", folder=tmp_path)


def test_every_alert_has_cases_in_which_it_fires_and_does_not(rules: dict[str, Any]) -> None:
    fires = {case.alert for case in CASES.values() if any(case.at.values())}
    rests = {case.alert for case in CASES.values() if not any(case.at.values())}
    assert fires == {alert["alert"] for alert in _alerts(rules)}
    assert rests >= fires


def test_every_alert_says_what_to_do_and_has_its_page(rules: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    for alert in _alerts(rules):
        name, texts = alert["alert"], alert["annotations"]
        assert f"\n## {name}\n" in page
        assert texts["runbook_url"] == f"docs/alerts.md#{name.lower()}"
        assert len(texts["description"]) > 100
        assert f"| `{name}` | {alert['labels']['severity']} | {alert.get('for', 'at once')} |" in page


def test_the_links_to_the_pages_lead_to_where_they_are_published(cluster: Cluster) -> None:
    prefix = "https://git.example.org/resguardo/src/"
    bodies = templated(cluster, *RULES_ON, f"metrics.prometheusRule.runbookPrefix={prefix}")
    links = [alert["annotations"]["runbook_url"] for alert in _alerts(only(bodies, "PrometheusRule", JOB)["spec"])]
    assert links
    assert all(link.startswith(f"{prefix}docs/alerts.md#") for link in links)


def test_kustomize_brings_the_same_rules_and_scrapes_the_same(
    cluster: Cluster, rules: dict[str, Any], tmp_path: Path
) -> None:
    # A user's overlay: base and the component.
    folder = ROOT / "manifests"
    relative = Path(*[".."] * len(tmp_path.resolve().parts[1:]), *folder.parts[1:])
    overlay = {"resources": [str(relative / "base")], "components": [str(relative / "monitoring")]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    first, second = kustomized(cluster, tmp_path), templated(cluster, *RULES_ON)
    assert only(first, "PrometheusRule", JOB)["spec"] == rules
    for kind in ("Service", "ServiceMonitor"):
        specs = [only(bodies, kind, JOB)["spec"] for bodies in (first, second)]
        for spec in specs:
            selector = spec["selector"]
            selector.get("matchLabels", selector).pop("app.kubernetes.io/instance", None)
        assert specs[0] == specs[1]


def test_what_a_service_monitor_selects_is_the_service_whose_name_the_rules_ask_for(cluster: Cluster) -> None:
    """Of a second release too: each has its own operator, and its alerts speak of that one alone."""
    bodies = templated(cluster, *RULES_ON, release="second", namespace="elsewhere")
    name = f"{JOB}-second"
    service, monitor = only(bodies, "Service", name), only(bodies, "ServiceMonitor", name)
    pod = only(bodies, "Deployment", name)["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]] == ["elsewhere"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == [port["name"]]
    rule = only(bodies, "PrometheusRule", name)
    assert rule["metadata"]["namespace"] == "elsewhere"
    selectors = [text.count(f'job="{name}"') for text in _expressions(rule["spec"])]
    assert all(selectors)
    assert not [text for text in _expressions(rule["spec"]) if f'job="{JOB}"' in text]


def test_without_a_word_nothing_is_made_that_needs_somebody_elses_crds(cluster: Cluster) -> None:
    kinds = {body["kind"] for body in templated(cluster)}
    assert "Service" in kinds
    assert not kinds & {"ServiceMonitor", "PrometheusRule", "NetworkPolicy"}
    assert "Service" not in {body["kind"] for body in templated(cluster, "metrics.enabled=false")}


def _expressions(rules: dict[str, Any]) -> list[str]:
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
