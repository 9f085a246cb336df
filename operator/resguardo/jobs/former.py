"""What the backup that is being made has before it: for which tiers it will stand, and whether its size is normal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
from pydantic import ValidationError

from resguardo.api.census import Census
from resguardo.api.errors import StoreError
from resguardo.api.inventory import BackupFacts
from resguardo.api.manifest import Manifest, ObjectRole, Oddity, SourceIdentity, Trigger
from resguardo.api.policy import BackupPolicy, Growth
from resguardo.api.sizes import parse_size
from resguardo.rules.growth import ROWS_MIN, Finding, Limits, Sample, choose_baseline, judge_size
from resguardo.rules.retention import tiers_taken
from resguardo.rules.tiers import Tier
from resguardo.store.catalogue import list_backups
from resguardo.store.facts import facts_of, identity_of
from resguardo.store.marks import Mark, marked_ids, read_verifications
from resguardo.store.protocol import Store
from resguardo.store.rows import read_rows
from resguardo.store.signatures import Trust

log = structlog.get_logger()

NAMES_IN_LOG = 20


@dataclass(frozen=True)
class Former:
    """The backups that are there, the oldest first: their manifests, and what is known beside those."""

    manifests: Mapping[str, Manifest]
    #: What is wrong with those whose manifest cannot be read or is not believed, by id.
    unusable: Mapping[str, StoreError]
    facts: list[BackupFacts]
    #: Ids of all that are committed, of those too that cannot be read or are not believed.
    committed: frozenset[str]
    accepted: frozenset[str]

    @property
    def doubtful(self) -> frozenset[str]:
        """Ids of those on which nothing may rest unless a person says so."""
        return frozenset(self.manifests) - {backup.id for backup in self.facts if backup.is_good}

    def newest_before(self, backup_id: str) -> str | None:
        """The one that started last before the one with that id, as their ids tell (`rules.chain`)."""
        return max((other for other in self.committed if other < backup_id), default=None)


def read_former(store: Store, trusted: Trust) -> Former:
    """Every backup under the prefix."""
    accepted, verifications = marked_ids(store, Mark.ACCEPTED), read_verifications(store)
    manifests, unusable, facts = {}, {}, []
    entries = list_backups(store, trusted)
    for entry in entries:
        if entry.problem is not None:
            unusable[entry.id] = entry.problem
        if entry.manifest is None:
            continue
        verification = verifications.get(entry.id)
        manifests[entry.id] = entry.manifest
        try:
            facts.append(
                facts_of(
                    entry.manifest,
                    stored_at=entry.stored_at,
                    accepted=entry.id in accepted,
                    damaged=verification is not None and not verification.ok,
                )
            )
        except ValidationError:
            continue  # a manifest that says what no backup can be is compared with nothing
    return Former(manifests, unusable, facts, frozenset(entry.id for entry in entries), accepted)


def tiers_of(
    started_at: datetime, trigger: Trigger, source: SourceIdentity, former: Former, policy: BackupPolicy
) -> list[Tier]:
    """The tiers for which a backup of this source will stand if it is good; a manual one stands for none."""
    if trigger is Trigger.MANUAL:
        return []
    own = [backup for backup in former.facts if backup.source == identity_of(source)]
    zone = ZoneInfo(policy.spec.time_zone)
    return tiers_taken(started_at, own, policy.spec.retention, zone=zone)


def find_oddities(store: Store, made: Manifest, census: Census, former: Former, policy: BackupPolicy) -> list[Oddity]:
    """What is odd about the size of a backup that is about to be committed. The log names the tables, the answer none."""
    baseline = choose_baseline(
        former.facts, source=identity_of(made.source), method=made.method, accepted=former.accepted
    )
    comparable = [
        former.manifests[backup.id] for backup in baseline if _codec(former.manifests[backup.id]) == _codec(made)
    ]
    samples = [_sample(manifest, read_rows(store, manifest.id)) for manifest in comparable]
    rows = rows_by_table(census)
    findings = judge_size(_sample(made, rows), samples, _limits(policy.spec.growth))
    if findings:
        _tell(findings, census, rows, samples[-1].rows if samples else {})
    return [Oddity(oddness=finding.oddness, message=finding.message[:160]) for finding in findings]


def rows_by_table(census: Census) -> dict[int, int | None]:
    """Rows by the oid by which a table is known; of partitions together. None where not all were counted."""
    parts: dict[int, list[int | None]] = defaultdict(list)
    for table in census.tables:
        if table.root_oid:
            parts[table.root_oid].append(table.rows)
    return {oid: None if None in counts else sum(filter(None, counts)) for oid, counts in parts.items()}


def _tell(
    findings: Iterable[Finding], census: Census, rows: Mapping[int, int | None], before: Mapping[int, int | None]
) -> None:
    names: dict[int, str] = {}
    for table in census.tables:
        names.setdefault(table.root_oid, f"{table.schema_name}.{table.name}")
    changes = [
        (abs((now or 0) - (then or 0)), oid, then, now)
        for oid, then, now in ((oid, before.get(oid, 0), rows.get(oid, 0)) for oid in _watched(before, rows))
        if then is not None and now is not None and then != now
    ]
    told = [
        f"{names.get(oid, f'a table that is gone (oid {oid})')}: {then:,} rows, now {now:,}"
        for _, oid, then, now in sorted(changes, reverse=True)[:NAMES_IN_LOG]
    ]
    log.warning(
        "this backup's size is odd",
        findings=[f"{finding.oddness}: {finding.message}" for finding in findings],
        changed_most=told,
    )


def _watched(before: Mapping[int, int | None], rows: Mapping[int, int | None]) -> Collection[int]:
    """Tables of some size, then or now; what was smaller is not in the former backup's list."""
    return before.keys() | {oid for oid, count in rows.items() if count and count >= ROWS_MIN}


def _sample(manifest: Manifest, rows: Mapping[int, int | None]) -> Sample:
    dump = [entry.bytes for entry in manifest.objects if entry.role is ObjectRole.DUMP]
    return Sample(bytes=sum(dump), tables=manifest.census.tables, rows=rows)


def _codec(manifest: Manifest) -> set[str]:
    return {entry.compression for entry in manifest.objects if entry.role is ObjectRole.DUMP}


def _limits(growth: Growth) -> Limits:
    return Limits(
        max_increase=_share(growth.max_increase) if growth.max_increase else None,
        max_decrease=_share(growth.max_decrease),
        minimum_bytes=parse_size(growth.minimum_bytes) if growth.minimum_bytes else 0,
    )


def _share(percent: str) -> float:
    return int(percent.rstrip("%")) / 100
