"""Roles that a restore needs: which must be there, which it makes, and which it borrows while it loads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resguardo.api.census import Census, Role
from resguardo.api.request import Globals
from resguardo.rules.archive import Entry, Section
from resguardo.rules.enumeration import enumerated
from resguardo.rules.identifier import IDENTIFIER_PATTERN, quoted, unquoted
from resguardo.rules.restore_facts import TargetFacts
from resguardo.rules.restore_omissions import DATABASE_OWNER_ROLE


def roles_named(entries: Iterable[Entry]) -> set[str]:
    """Roles without which an entry cannot be made, whoever owns it: those of row policies and user mappings."""
    named = set()
    for entry in entries:
        if entry.description == "POLICY":
            named.update(policy_roles(entry.definition))
        elif entry.description == "USER MAPPING":
            match = re.match(rf"CREATE USER MAPPING FOR ({IDENTIFIER_PATTERN}) SERVER ", entry.definition)
            named.update([unquoted(match.group(1))] if match else [])
    return named - {"public"}


_POLICY = re.compile(
    rf"CREATE POLICY {IDENTIFIER_PATTERN} ON {IDENTIFIER_PATTERN}\.{IDENTIFIER_PATTERN}(?: AS RESTRICTIVE)?(?: FOR \w+)?"
    rf" TO (?P<roles>{IDENTIFIER_PATTERN}(?:, {IDENTIFIER_PATTERN})*)(?: USING | WITH CHECK |;)"
)


def policy_roles(definition: str) -> list[str]:
    """The roles that a row policy is for; none where it is for everybody.

    >>> policy_roles('CREATE POLICY p ON s.t FOR SELECT TO app, "a, b" USING (true);')
    ['app', 'a, b']
    """
    match = _POLICY.match(definition)
    return [unquoted(name) for name in re.findall(IDENTIFIER_PATTERN, match["roles"])] if match else []


def roles_needed(entries: Iterable[Entry], census: Census) -> set[str]:
    """Every role that the database names: as owner, in privileges, policies or settings."""
    loaded = list(entries)
    needed = {role.name for role in census.roles} | {census.database.owner} | roles_named(loaded)
    return needed | {entry.owner for entry in loaded if entry.owner}


def owners_of(entries: Iterable[Entry], census: Census) -> set[str]:
    """The roles that something is given to; schema public's owner stays what it is in any new database."""
    owners = {entry.owner for entry in entries if entry.owner and entry.tag != "SCHEMA public"}
    return (owners | {census.database.owner}) - {DATABASE_OWNER_ROLE}


@dataclass(frozen=True)
class MissingRoles:
    """What becomes of roles that the server has not: made, or in the way."""

    create: tuple[Role, ...] = ()
    blockers: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()


def create_missing(missing: list[str], census: Census, facts: TargetFacts, globals_: Globals) -> MissingRoles:
    """Make the missing roles, or say why that cannot be; of their memberships, those among themselves."""
    blockers = tuple(_creation_blockers(missing, facts, globals_))
    if blockers or not missing:
        return MissingRoles(blockers=blockers)
    known = {role.name: role for role in census.roles}
    wanted = [known.get(name, Role(name=name)) for name in missing]
    create = [
        role.model_copy(update={"member_of": [name for name in role.member_of if name in missing]}) for role in wanted
    ]
    others = [f"{role.name} in {name}" for role in wanted for name in role.member_of if name not in missing]
    omitted = [f"login, password and attributes of roles that were missing and were created: {enumerated(missing)}"]
    if others:
        # Whoever gets the right to log in as a created role later would have what that membership opens.
        omitted.append(f"memberships of created roles in roles that were there before: {enumerated(others)}")
    return MissingRoles(tuple(create), (), tuple(omitted))


def _creation_blockers(missing: list[str], facts: TargetFacts, globals_: Globals) -> Iterator[str]:
    if reserved := [name for name in missing if name.startswith("pg_")]:
        yield f"predefined roles of another PostgreSQL version are missing and cannot be made: {enumerated(reserved)}"
    others = [name for name in missing if name not in reserved]
    if globals_ is Globals.NONE:
        for name in others:
            yield f"role {name} is missing: CREATE ROLE {quoted(name)}, or set globals: CreateMissing"
    elif others and not (facts.is_superuser or facts.can_create_roles):
        yield (
            f"roles are missing ({enumerated(others)}) and role {facts.role} may not create any: "
            f"ALTER ROLE {quoted(facts.role)} CREATEROLE, or create them"
        )


def _belongings(owner: str, entries: Iterable[Entry]) -> str:
    """What a person could give to another role before the next backup; a large object is a BLOB in pg_dump's words."""
    its = [
        entry
        for entry in entries
        # From 17 on, the entries that make large objects are in the section of data.
        if entry.owner == owner and (entry.section is not Section.DATA or entry.description == "BLOB METADATA")
    ]
    return f" ({enumerated(its)})" if its else ""


def roles_to_act_as(facts: TargetFacts, *, borrowed: Iterable[str], created: Iterable[Role]) -> frozenset[str]:
    """The roles that the connection's role may SET ROLE to while it restores, by however many memberships."""
    groups = {name: role.member_of for name, role in facts.roles.items()}
    groups |= {role.name: tuple(role.member_of) for role in created}
    # What another restore has borrowed, that one takes back when it ends.
    lasting = [name for name in groups.get(facts.role, ()) if not facts.roles[name].is_borrowed]
    reached: set[str] = set()
    ahead = {facts.role, *borrowed, *lasting}
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead |= set(groups.get(name, ()) if name != facts.role else ()) - reached
    return frozenset(reached)


@dataclass(frozen=True)
class Borrowing:
    """Memberships that the connection's role needs for the time of the restore."""

    roles: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()


def borrow(owners: set[str], missing: list[str], facts: TargetFacts, entries: Iterable[Entry]) -> Borrowing:
    """The memberships without which entries cannot be given to their owners; blockers name those that cannot be had."""
    if facts.is_superuser:
        return Borrowing()
    borrowed, blockers = [], []
    for name in sorted(owners - {facts.role}):
        role = facts.roles.get(name)
        if role is None:
            # One that is to be created can be granted by its creator; any other is a blocker already.
            borrowed += [name] if name in missing else []
        elif role.can_own and not role.is_borrowed:
            continue
        elif role.is_superuser:
            blockers.append(
                f"role {facts.role} cannot give objects to {name}, a superuser{_belongings(name, entries)}: restore as a "
                "superuser, or with ownership: Role"
            )
        elif role.is_grantable:
            borrowed.append(name)
        else:
            blockers.append(
                f"role {facts.role} cannot give objects to {name}: GRANT {quoted(name)} TO {quoted(facts.role)}"
            )
    if borrowed and not facts.inherits and facts.server_major < 16:
        blockers.append(
            f"role {facts.role} does not inherit the rights of the roles that it is a member of: "
            f"ALTER ROLE {quoted(facts.role)} INHERIT"
        )
    return Borrowing(tuple(borrowed), tuple(blockers))
