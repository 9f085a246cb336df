"""In which of a load's three stages each entry of an archive is made.

A dump that streams in is loaded in the archive's order by one process. What comes after the data (indexes, constraints,
triggers) and the privileges need nothing but the table of contents, of which there is a copy: several processes make the
indexes and keys from it, which take long, and one process all the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from resguardo.rules.archive import Entry, Section

#: What takes long, and locks no more than the tables that pg_restore sees to itself.
_SIDE_BY_SIDE = frozenset({"INDEX", "CONSTRAINT", "FK CONSTRAINT"})
#: Made last, as pg_restore does: a REVOKE must not stand in the way of what is still to be made (RestorePass, pg_dump's
#: pg_backup_archiver.h).
_PRIVILEGES = ("ACL", "DEFAULT ACL")


@dataclass(frozen=True)
class Stages:
    """Dump ids in the archive's order; together they are all that is loaded."""

    #: Everything up to the data, and the data.
    from_stream: tuple[int, ...]
    #: What needs the data to be there and can be made by several sessions at once.
    side_by_side: tuple[int, ...]
    #: What is left: it is quick, or several sessions at it could deadlock.
    last: tuple[int, ...]


def load_stages(entries: Iterable[Entry], *, left_out: Collection[int]) -> Stages:
    """Share out the entries. One without a section, such as a comment, goes with those that it stands behind.

    ALTER INDEX … ATTACH PARTITION locks two indexes so that nobody may even read them, and REFRESH MATERIALIZED VIEW reads
    whatever it pleases, so that one waits for the other for ever; policies, rules and triggers on partitioned tables lock
    more than their own table too. Those, and what depends on them, are left to one session.
    """
    from_stream: list[int] = []
    side_by_side: list[int] = []
    #: A dictionary, since it is asked for each entry, and a dump may have a hundred thousand.
    last: dict[int, None] = {}
    are_data_over = False
    for entry in entries:
        are_data_over = are_data_over or entry.section is Section.POST_DATA
        if entry.dump_id in left_out:
            continue
        if not are_data_over and entry.description not in _PRIVILEGES:
            from_stream.append(entry.dump_id)
        elif entry.description in _SIDE_BY_SIDE and last.keys().isdisjoint(entry.dependencies):
            side_by_side.append(entry.dump_id)
        else:
            last[entry.dump_id] = None
    return Stages(tuple(from_stream), tuple(side_by_side), tuple(last))
