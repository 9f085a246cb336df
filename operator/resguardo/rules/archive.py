"""What a pg_dump archive says about itself at its beginning: its table of contents, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum

_OF_ANOTHER = ("ACL", "COMMENT", "SECURITY LABEL")


class Section(IntEnum):
    """Where in a dump an entry belongs (teSection, pg_backup.h)."""

    #: It says something about the entry before it.
    NONE = 1
    PRE_DATA = 2
    DATA = 3
    POST_DATA = 4


@dataclass(frozen=True)
class Entry:
    """One entry of an archive's table of contents. Names are exact, whatever characters they hold."""

    dump_id: int
    #: What it is, in pg_dump's words: TABLE, TABLE DATA, ACL, SECURITY LABEL, MATERIALIZED VIEW DATA …
    description: str
    #: The object's name as pg_dump writes it; of an ACL or COMMENT the kind as well: `TABLE submissions`.
    tag: str
    schema: str = ""
    owner: str = ""
    #: The SQL that makes it; empty for data. Never to be logged: a user mapping's holds passwords.
    definition: str = field(default="", repr=False)
    tablespace: str = ""
    dependencies: tuple[int, ...] = ()
    section: Section = Section.PRE_DATA
    #: Catalogue and object, as pg_restore --list shows them.
    catalog_oid: int = 0
    oid: int = 0

    @property
    def is_about_another(self) -> bool:
        """Whether it says something about an object that another entry, or nobody in this archive, makes."""
        return self.description in _OF_ANOTHER

    @property
    def is_of_database(self) -> bool:
        """Whether it makes or changes the database itself: pg_restore passes over it, the census stands for it."""
        return self.description in ("DATABASE", "DATABASE PROPERTIES") or (
            self.is_about_another and self.tag.startswith("DATABASE ")
        )

    def __str__(self) -> str:
        name = f"{self.schema}.{self.tag}" if self.schema and not self.is_about_another else self.tag
        return f"{self.description} {name}"


@dataclass(frozen=True)
class Contents:
    """An archive's table of contents, in the archive's order."""

    database: str
    #: Of the server that was dumped, such as `15.20 (Debian 15.20-0+deb12u1)`.
    server_version: str
    #: Of the pg_dump that wrote it.
    tool_version: str
    entries: tuple[Entry, ...]
    #: How much of the archive's beginning it takes.
    size_bytes: int = 0

    @property
    def server_major(self) -> int:
        """The dumped server's major version; 9 stands for all of 9.x, which nobody supports."""
        return major_of(self.server_version)

    @property
    def tool_major(self) -> int:
        """pg_dump's major version."""
        return major_of(self.tool_version)


def major_of(version: str) -> int:
    """The major version at the start of what a program or server says of itself; 0 where there is none.

    >>> major_of("15.20 (Debian 15.20-0+deb12u1)"), major_of("18beta1"), major_of("")
    (15, 18, 0)
    """
    match = re.match(r"\d+", version)
    return int(match.group()) if match else 0
