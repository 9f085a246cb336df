"""What a restore will do, decided before anything is made: every blocker at once, roles, and what is left out.

Ownership.ORIGINAL gives every object to its original owner and loads every privilege. Ownership.ROLE is the copy for
another environment: all objects belong to the connection's role, and no GRANT or default privilege is loaded, because
production's list of who may read what is neither wanted there (its roles may not exist, or be other people's) nor safe to
open by accident. What PUBLIC may do with the database itself is never wider than in the original.

Roles are granted to the connection's role for the time of the restore only, and only where it is no superuser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resguardo.api.census import Census, Role
from resguardo.api.errors import RestoreBlocked, TargetBusy, TargetNotEmpty
from resguardo.api.request import Globals, OnExisting, Ownership
from resguardo.api.sizes import print_size
from resguardo.rules.aclitem import AclItem
from resguardo.rules.archive import Contents, Entry
from resguardo.rules.database_privileges import plan_database_privileges
from resguardo.rules.enumeration import enumerated
from resguardo.rules.identifier import quoted
from resguardo.rules.load_stages import Stages, load_stages
from resguardo.rules.restore_facts import TargetFacts
from resguardo.rules.restore_omissions import TEMPLATE_EXTENSIONS, omissions
from resguardo.rules.restore_roles import borrow, create_missing, owners_of, roles_named, roles_needed, roles_to_act_as


@dataclass(frozen=True)
class Wishes:
    """What the request asks for."""

    database: str
    on_existing: OnExisting
    ownership: Ownership
    globals: Globals
    free_space_bytes: int | None = None


@dataclass(frozen=True)
class RestorePlan:
    """What a restore will do. `require_clear` says whether it may."""

    database: str
    ownership: Ownership
    #: The major version of pg_restore that loads it.
    tool_major: int
    #: What is loaded, and when.
    stages: Stages
    #: How much of the dump's beginning its table of contents takes.
    contents_bytes: int
    #: Why nothing may be loaded: each a sentence that says what to do.
    blockers: tuple[str, ...] = ()
    #: Why the database that has the name must stay as it is.
    not_empty: str | None = None
    busy: tuple[str, ...] = ()
    #: Whether a database has the target's name, and is to be kept aside.
    replaces: bool = False
    roles_to_create: tuple[Role, ...] = ()
    #: Memberships that the connection's role grants itself and gives back at the end.
    roles_to_borrow: tuple[str, ...] = ()
    #: Owners that need CREATE on schemas and database while objects are given to them; taken back after loading.
    owners_to_admit: tuple[str, ...] = ()
    #: GRANTs on schemas, to be repeated once that was taken back.
    schema_privileges: tuple[str, ...] = ()
    #: All that anybody gets on the database itself, in the order of granting.
    database_privileges: tuple[AclItem, ...] = ()
    #: What is left out, one sentence each, for status.
    omitted: tuple[str, ...] = ()
    #: What is different and does no harm.
    notes: tuple[str, ...] = ()

    @property
    def without_owners(self) -> bool:
        """Whether everything is to belong to the connection's role."""
        return self.ownership is Ownership.ROLE

    def require_clear(self) -> None:
        """Raise TargetNotEmpty, TargetBusy or RestoreBlocked, each with everything that stands in the way."""
        others = [*self.busy, *self.blockers]
        if self.not_empty is not None:
            raise TargetNotEmpty("; ".join([self.not_empty, *others]))
        if self.busy:
            raise TargetBusy("; ".join(others))
        if others:
            raise RestoreBlocked(f"{len(others)} problem(s) before loading: " + "; ".join(others))


def plan_restore(wishes: Wishes, contents: Contents, census: Census, facts: TargetFacts) -> RestorePlan:
    """Decide. Reads no server and raises nothing: what stands in the way is in the plan."""
    without_owners = wishes.ownership is Ownership.ROLE
    left_out = omissions(contents, facts, without_privileges=without_owners)
    entries = [
        entry for entry in contents.entries if entry.dump_id not in left_out.dump_ids and not entry.is_of_database
    ]
    named = roles_named(entries) if without_owners else roles_needed(entries, census)
    missing = sorted(name for name in named if name not in facts.roles)
    roles = create_missing(missing, census, facts, wishes.globals)
    owners = set() if without_owners else owners_of(entries, census)
    borrowing = borrow(owners | _target_owner(facts), missing, facts, () if without_owners else entries)
    acts_as = roles_to_act_as(facts, borrowed=borrowing.roles, created=roles.create)
    privileges = plan_database_privileges(census.database, wishes.ownership, facts, acts_as=acts_as)
    admitted = [] if facts.is_superuser else sorted(owners - {facts.role})
    omitted = [*left_out.sentences]
    if without_owners:
        omitted += _omitted_without_owners(contents)
    return RestorePlan(
        database=wishes.database,
        ownership=wishes.ownership,
        tool_major=facts.tool_major,
        blockers=(
            *_server_blockers(wishes, contents, census, facts),
            *_extension_blockers(entries, facts),
            *_superuser_blockers(contents, entries, facts),
            *roles.blockers,
            *borrowing.blockers,
        ),
        not_empty=_not_empty(wishes, facts),
        busy=_busy(wishes, facts),
        replaces=facts.existing is not None,
        roles_to_create=roles.create,
        roles_to_borrow=borrowing.roles,
        owners_to_admit=tuple(admitted),
        schema_privileges=tuple(
            entry.definition for entry in entries if admitted and _is_of_schemas(entry, facts.role)
        ),
        database_privileges=privileges.granted,
        stages=load_stages(contents.entries, left_out=left_out.dump_ids),
        contents_bytes=contents.size_bytes,
        omitted=(*omitted, *privileges.omitted, *roles.omitted, *facts.refused_settings),
        notes=tuple(_notes(entries, census, facts)),
    )


def _is_of_schemas(entry: Entry, role: str) -> bool:
    """Whether an entry grants something that admitting the owners touches."""
    if entry.description == "DEFAULT ACL":
        return entry.tag == "DEFAULT PRIVILEGES FOR SCHEMAS" and entry.owner == role
    return entry.description == "ACL" and entry.tag.startswith("SCHEMA ")


def _not_empty(wishes: Wishes, facts: TargetFacts) -> str | None:
    existing = facts.existing
    if existing is None or not existing.holds or wishes.on_existing is OnExisting.REPLACE:
        return None
    return (
        f"database {wishes.database} exists and holds {enumerated(existing.holds)}; nothing was changed. Restore into "
        "another name, or set onExisting: Replace with notAfter, which keeps it under another name"
    )


def _busy(wishes: Wishes, facts: TargetFacts) -> tuple[str, ...]:
    if facts.existing is None or (facts.existing.holds and wishes.on_existing is OnExisting.REFUSE):
        return ()
    return facts.existing.hangers


def _server_blockers(wishes: Wishes, contents: Contents, census: Census, facts: TargetFacts) -> Iterator[str]:
    source_major = max(contents.server_major, census.server_version_num // 10000)
    if source_major > facts.server_major:
        yield (
            f"a dump of PostgreSQL {source_major} does not load into PostgreSQL {facts.server_major}: "
            f"restore to a server of version {source_major} or later"
        )
    if contents.tool_major > facts.tool_major:
        yield (
            f"pg_restore {facts.tool_major} does not read an archive of pg_dump {contents.tool_major}: "
            f"use an image with PostgreSQL {contents.tool_major} or later"
        )
    if facts.tool_major >= 17 > facts.server_major:
        way = (
            f"restore to PostgreSQL 17 or later, or write the backup as SQL (restore --to-sql), take out the line "
            f"'SET transaction_timeout = 0;' and run it in psql, since pg_dump {contents.tool_major} wrote it"
            if contents.tool_major > facts.server_major
            else f"use an image with PostgreSQL {facts.server_major}"
        )
        yield (
            f"pg_restore {facts.tool_major} sets transaction_timeout, which PostgreSQL {facts.server_major} does not know: "
            f"{way}"
        )
    if wishes.database in ("template0", "template1"):
        yield f"{wishes.database} is the template of new databases and is never replaced: restore into another name"
    if not (facts.is_superuser or facts.can_create_databases):
        yield f"role {facts.role} may not create databases: ALTER ROLE {quoted(facts.role)} CREATEDB"
    if wishes.free_space_bytes is not None and census.database.size_bytes > wishes.free_space_bytes:
        yield (
            f"the database took {print_size(census.database.size_bytes)} when it was backed up, and freeSpace says that "
            f"the server has room for {print_size(wishes.free_space_bytes)}"
        )
    if not facts.is_encoding_known:
        yield f"the server does not know encoding {census.database.encoding}"
    if facts.locale_refusal is not None:
        yield (
            f"the server has not the original's locale ({facts.locale_refusal}): install it where the server runs, "
            "and restart the server"
        )


def _extension_blockers(entries: Iterable[Entry], facts: TargetFacts) -> Iterator[str]:
    for entry in entries:
        if entry.description != "EXTENSION" or entry.tag in TEMPLATE_EXTENSIONS:
            continue
        available = facts.extensions.get(entry.tag)
        if available is None:
            yield f"extension {entry.tag} is not available: install its package where the server runs"
        elif available.needs_superuser and not available.is_trusted and not facts.is_superuser:
            yield (
                f"extension {entry.tag} can only be created by a superuser, and role {facts.role} is none: "
                "restore as a superuser"
            )


#: Kinds of object that only a superuser may make (the manual's page of each CREATE command).
_SUPERUSER_ONLY = frozenset(
    {
        "ACCESS METHOD",
        "FOREIGN DATA WRAPPER",
        "OPERATOR CLASS",
        "OPERATOR FAMILY",
        "PROCEDURAL LANGUAGE",
        "SHELL TYPE",
        "TEXT SEARCH PARSER",
        "TEXT SEARCH TEMPLATE",
    }
)
_FUNCTIONS = frozenset({"FUNCTION", "PROCEDURE"})
#: The line in which pg_dump writes a function's attributes (dumpFunc in pg_dump.c).
_FUNCTION_HEAD = re.compile(
    r"^    (?:TRANSFORM [^\n]*\n    )?LANGUAGE (?P<language>\S+)(?P<attributes>[^\n]*)$", re.MULTILINE
)


def _needs_superuser(entry: Entry) -> bool:
    if entry.description in _SUPERUSER_ONLY:
        return True
    if entry.description == "CAST":
        return " WITHOUT FUNCTION" in entry.definition
    if entry.description in _FUNCTIONS and (head := _FUNCTION_HEAD.search(entry.definition)):
        return (
            head["language"] in ("c", "internal")
            or re.search(r" (LEAKPROOF|SUPPORT) ?", head["attributes"]) is not None
        )
    return False


def _superuser_blockers(contents: Contents, entries: Iterable[Entry], facts: TargetFacts) -> Iterator[str]:
    if facts.is_superuser:
        return
    made = {entry.dump_id for entry in contents.entries}
    loaded = list(entries)
    if needing := [entry for entry in loaded if _needs_superuser(entry)]:
        yield f"only a superuser can make {enumerated(needing)}: restore as a superuser"
    foreign = [entry for entry in loaded if entry.description == "TABLE DATA" and made.isdisjoint(entry.dependencies)]
    if foreign:
        yield f"only a superuser can load rows into tables of extensions: {enumerated(e.tag for e in foreign)}"


def _target_owner(facts: TargetFacts) -> set[str]:
    # Renaming a database needs ownership of it.
    return {facts.existing.owner} if facts.existing else set()


def _omitted_without_owners(contents: Contents) -> list[str]:
    privileges = [entry for entry in contents.entries if entry.description in ("ACL", "DEFAULT ACL")]
    said = ["owners: everything belongs to the connection's role (ownership: Role)"]
    if privileges:
        said.append(
            f"all privileges (ownership: Role); among them those of {enumerated(entry.tag for entry in privileges)}. "
            "Functions and types have PostgreSQL's default: PUBLIC may use them"
        )
    return said


def _notes(entries: Iterable[Entry], census: Census, facts: TargetFacts) -> Iterator[str]:
    loaded = list(entries)
    if tablespaces := sorted({entry.tablespace for entry in loaded if entry.tablespace}):
        yield f"everything is in the default tablespace, not in {enumerated(tablespaces)}"
    for extension in census.extensions:
        available = facts.extensions.get(extension.name)
        if available is not None and available.version != extension.version:
            yield f"extension {extension.name} is {available.version} here and was {extension.version}"
    then, here = census.database.collation_version, facts.collation_version
    if then is not None and here is not None and then != here:
        yield f"the collation's version is {here} here and was {then}; loading built all indexes anew"
