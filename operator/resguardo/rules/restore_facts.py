"""What a restore must know of the server that it restores to, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RoleFacts:
    """A role on the target server, as the connection's role stands to it."""

    is_superuser: bool = False
    #: The connection's role may do what this one may, without SET ROLE.
    is_inherited: bool = False
    #: The connection's role may SET ROLE to it, and so give objects to it.
    is_settable: bool = False
    #: The connection's role may grant the membership to itself.
    is_grantable: bool = False
    #: The connection's role has granted the membership to itself for another restore, which takes it back when it ends.
    is_borrowed: bool = False
    #: The roles that it may SET ROLE to by a membership of its own.
    member_of: tuple[str, ...] = ()

    @property
    def can_own(self) -> bool:
        """Whether objects can be given to it and worked on afterwards."""
        return self.is_inherited and self.is_settable


@dataclass(frozen=True)
class AvailableExtension:
    """An extension as CREATE EXTENSION would install it."""

    version: str
    #: Needs superuser, unless trusted (pg_available_extension_versions).
    needs_superuser: bool = False
    is_trusted: bool = False


@dataclass(frozen=True)
class ExistingDatabase:
    """The database that has the target's name already."""

    owner: str
    #: What is in it, for people: `12 tables`; empty where there is nothing of anybody's.
    holds: tuple[str, ...] = ()
    #: What would stay with it, or break, when it is set aside: one sentence each.
    hangers: tuple[str, ...] = ()


@dataclass(frozen=True)
class TargetFacts:
    """The target server, and who the connection's role is on it."""

    server_version_num: int
    #: Major version of the pg_restore at hand.
    tool_major: int
    role: str
    is_superuser: bool = False
    can_create_databases: bool = False
    can_create_roles: bool = False
    inherits: bool = True
    #: All roles of the server.
    roles: Mapping[str, RoleFacts] = field(default_factory=dict)
    extensions: Mapping[str, AvailableExtension] = field(default_factory=dict)
    #: Providers that the archive's security labels name and that are not loaded here.
    absent_label_providers: frozenset[str] = frozenset()
    #: Settings of the original that this role may not give, one sentence each.
    refused_settings: tuple[str, ...] = ()
    is_encoding_known: bool = True
    #: What the server says of the original's locale; None where it takes it.
    locale_refusal: str | None = None
    #: Of the original's collation on this server; None where it has none or cannot be told.
    collation_version: str | None = None
    existing: ExistingDatabase | None = None

    @property
    def server_major(self) -> int:
        """The target server's major version."""
        return self.server_version_num // 10000
