"""Whether the backup that is being made has a normal size: the facts of rules/growth.py, gathered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from resguardo.api.census import Census
from resguardo.api.manifest import Manifest, ObjectEntry, ObjectRole, Oddity
from resguardo.api.policy import Growth
from resguardo.api.sizes import parse_size
from resguardo.rules.growth import Limits, Sample, judge_size
from resguardo.store.protocol import Store
from resguardo.store.rows import read_rows


def find_oddities(
    store: Store, objects: Sequence[ObjectEntry], census: Census, baseline: Sequence[Manifest], limits: Growth
) -> list[Oddity]:
    """What is odd about a backup of these objects; `baseline` are those of rules.growth.choose_baseline, the newest last."""
    comparable = [manifest for manifest in baseline if _codec(manifest.objects) == _codec(objects)]
    made = Sample(bytes=_dump_bytes(objects), tables=len(census.tables), rows=rows_by_table(census))
    former = [
        Sample(bytes=_dump_bytes(manifest.objects), tables=manifest.census.tables, rows=read_rows(store, manifest.id))
        for manifest in comparable
    ]
    return [
        Oddity(oddness=finding.oddness, message=finding.message)
        for finding in judge_size(made, former, _limits(limits))
    ]


def rows_by_table(census: Census) -> dict[int, int | None]:
    """Rows by the oid by which a table is known; of partitions together. None where not all were counted."""
    parts: dict[int, list[int | None]] = defaultdict(list)
    for table in census.tables:
        if table.root_oid:
            parts[table.root_oid].append(table.rows)
    return {oid: None if None in counts else sum(filter(None, counts)) for oid, counts in parts.items()}


def _dump_bytes(objects: Sequence[ObjectEntry]) -> int:
    return sum(entry.bytes for entry in objects if entry.role is ObjectRole.DUMP)


def _codec(objects: Sequence[ObjectEntry]) -> set[str]:
    return {entry.compression for entry in objects if entry.role is ObjectRole.DUMP}


def _limits(growth: Growth) -> Limits:
    return Limits(
        max_increase=_share(growth.max_increase) if growth.max_increase else None,
        max_decrease=_share(growth.max_decrease),
        minimum_bytes=parse_size(growth.minimum_bytes) if growth.minimum_bytes else 0,
    )


def _share(percent: str) -> float:
    return int(percent.rstrip("%")) / 100
