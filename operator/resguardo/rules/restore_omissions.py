"""Which entries of an archive a restore leaves out, and the sentence that says so for each kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from resguardo.rules.archive import Contents, Entry
from resguardo.rules.enumeration import enumerated
from resguardo.rules.identifier import IDENTIFIER_PATTERN, unquoted
from resguardo.rules.restore_facts import TargetFacts

#: The role that a database's owner is a member of by being it; nobody else can be.
DATABASE_OWNER_ROLE = "pg_database_owner"
#: Extensions that a new database has from template0.
TEMPLATE_EXTENSIONS = frozenset({"plpgsql"})


@dataclass(frozen=True)
class Omissions:
    """What is left out: dump ids, and one sentence for each kind."""

    dump_ids: frozenset[int]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class _Rule:
    applies: Callable[[Entry], bool]
    sentence: str
    needs_superuser: bool = True


def omissions(contents: Contents, facts: TargetFacts, *, without_privileges: bool) -> Omissions:
    """What cannot or must not be loaded by this role on this server, with all that depends on it.

    `without_privileges`: GRANTs are not loaded at all, so none of them needs a sentence here.
    """
    made = {entry.dump_id for entry in contents.entries}
    chosen: set[int] = set()
    sentences = []
    for rule in _rules(contents, facts, made):
        if rule.needs_superuser and facts.is_superuser:
            continue
        entries = [
            entry
            for entry in contents.entries
            if entry.dump_id not in chosen
            and not entry.is_of_database
            and not (without_privileges and entry.description == "ACL")
            and rule.applies(entry)
        ]
        if entries:
            chosen.update(entry.dump_id for entry in entries)
            sentences.append(rule.sentence.format(enumerated(entry.tag for entry in entries)))
    chosen |= _dependents(contents.entries, chosen)
    return Omissions(frozenset(chosen), tuple(sentences))


def _rules(contents: Contents, facts: TargetFacts, made: set[int]) -> list[_Rule]:
    whole_schemas = {
        dependency
        for entry in contents.entries
        if entry.description == "PUBLICATION TABLES IN SCHEMA"
        for dependency in entry.dependencies
    }

    def is_wide_publication(entry: Entry) -> bool:
        return entry.description == "PUBLICATION" and (
            " FOR ALL TABLES" in entry.definition.partition(" WITH (")[0] or entry.dump_id in whole_schemas
        )

    def is_of_nobody_here(entry: Entry) -> bool:
        # Objects of extensions and of the system belong to the server's own superuser, on every server.
        return (
            entry.description == "ACL"
            and entry.tag != "SCHEMA public"
            and entry.owner != facts.role
            and made.isdisjoint(entry.dependencies)
        )

    return [
        _Rule(
            lambda entry: entry.description in ("SUBSCRIPTION", "SUBSCRIPTION TABLE"),
            "subscriptions, which would connect to their publishers at once: {}; make them anew when they are wanted",
            needs_superuser=False,
        ),
        _Rule(
            lambda entry: _label_provider(entry) in facts.absent_label_providers,
            "security labels of a provider that is not loaded on the server: {}",
            needs_superuser=False,
        ),
        _Rule(lambda entry: entry.description == "EVENT TRIGGER", "event triggers, which need superuser: {}"),
        _Rule(
            is_wide_publication,
            "publications FOR ALL TABLES or TABLES IN SCHEMA, which need superuser: {}",
        ),
        _Rule(
            lambda entry: entry.description == "COMMENT" and _extension_of(entry) in TEMPLATE_EXTENSIONS,
            "comments on extensions that the server's superuser owns: {}",
        ),
        _Rule(is_of_nobody_here, "privileges on objects of extensions or of the system, which need superuser: {}"),
        _Rule(
            lambda entry: (
                entry.description == "ACL"
                and re.search(r"^SET SESSION AUTHORIZATION ", entry.definition, re.MULTILINE) is not None
            ),
            "privileges (all of those objects') that another role than the owner had granted on, which needs superuser: {}",
        ),
    ]


def _label_provider(entry: Entry) -> str | None:
    return label_provider(entry.definition) if entry.description == "SECURITY LABEL" else None


def label_provider(definition: str) -> str | None:
    """The provider in `SECURITY LABEL FOR provider ON …`.

    >>> label_provider("SECURITY LABEL FOR \\"my labels\\" ON TABLE t IS 'x';")
    'my labels'
    """
    match = re.match(rf"SECURITY LABEL FOR ({IDENTIFIER_PATTERN}) ON ", definition)
    return unquoted(match.group(1)) if match else None


def _extension_of(entry: Entry) -> str | None:
    kind, _, name = entry.tag.partition(" ")
    return unquoted(name) if kind == "EXTENSION" else None


def _dependents(entries: Iterable[Entry], chosen: set[int]) -> set[int]:
    """What speaks of something left out: its comment, label, privileges, tables of a publication."""
    return {
        entry.dump_id
        for entry in entries
        if (entry.is_about_another or entry.description.startswith("PUBLICATION TABLE"))
        and not chosen.isdisjoint(entry.dependencies)
    }
