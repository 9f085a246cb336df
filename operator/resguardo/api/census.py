"""The census: what a database was at its backup's snapshot, so that a restore can be made and compared."""

from __future__ import annotations

from pydantic import Field

from resguardo.api.base import Exchanged, Instant, Whole

CENSUS_FORMAT_VERSION = 1


class DatabaseSetting(Exchanged):
    """One line of ALTER DATABASE … SET, or of ALTER ROLE … IN DATABASE … SET."""

    role: str | None = None
    name: str
    value: str


class DatabaseProperties(Exchanged):
    """Everything about a database that a dump of its contents does not hold."""

    name: str
    encoding: str
    locale_provider: str = Field(description="c (libc), i (ICU) or b (built-in), as in pg_database.datlocprovider.")
    collate: str
    ctype: str
    icu_locale: str | None = None
    icu_rules: str | None = None
    collation_version: str | None = None
    owner: str
    #: aclitem texts as in pg_database.datacl; None where the privileges are the default ones.
    acl: list[str] | None = None
    comment: str | None = None
    connection_limit: int = -1
    is_template: bool = False
    settings: list[DatabaseSetting] = []
    size_bytes: Whole


class Role(Exchanged):
    """A role that the database needs: as owner, in privileges, policies or settings."""

    name: str
    inherit: bool = True
    member_of: list[str] = []


class Extension(Exchanged):
    """An extension as installed."""

    name: str
    version: str
    schema_name: str


class TableRows(Exchanged):
    """A table's rows at the snapshot; None where the budget ended first: not compared."""

    schema_name: str
    name: str
    rows: Whole | None = None
    #: By which the table is known to the next backup's census: its oid, or of a partition that of the table at the top.
    root_oid: Whole = 0


class Census(Exchanged):
    """The whole of it."""

    format_version: int = CENSUS_FORMAT_VERSION
    server_version_num: Whole
    system_identifier: str
    taken_at: Instant
    lsn: str
    database: DatabaseProperties
    roles: list[Role]
    extensions: list[Extension]
    #: Tablespaces into which objects were put by name, the database's own aside.
    tablespaces: list[str] = []
    schema_fingerprint: str
    tables: list[TableRows]
    large_objects: Whole | None = None
