"""In which of a load's two stages each entry of an archive is made.

A dump that streams in is loaded in the archive's order by one process. What comes after the data (indexes, constraints,
triggers) and the privileges need nothing but the table of contents, so several processes can make them from a copy of that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from resguardo.rules.archive import Entry, Section

#: Made last, as pg_restore does: a REVOKE must not stand in the way of what is still to be made (RestorePass, pg_dump's
#: pg_backup_archiver.h).
_PRIVILEGES = ("ACL", "DEFAULT ACL")


@dataclass(frozen=True)
class Stages:
    """Dump ids in the archive's order; together they are all that is loaded."""

    #: Everything up to the data, and the data.
    from_stream: tuple[int, ...]
    #: What needs the data to be there, and the privileges.
    afterwards: tuple[int, ...]


def load_stages(entries: Iterable[Entry], *, left_out: Collection[int]) -> Stages:
    """Share out the entries. One without a section, such as a comment, goes with those that it stands behind."""
    from_stream: list[int] = []
    afterwards: list[int] = []
    are_data_over = False
    for entry in entries:
        are_data_over = are_data_over or entry.section is Section.POST_DATA
        if entry.dump_id not in left_out:
            is_last = are_data_over or entry.description in _PRIVILEGES
            (afterwards if is_last else from_stream).append(entry.dump_id)
    return Stages(tuple(from_stream), tuple(afterwards))
