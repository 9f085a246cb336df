"""The privileges on a restored database itself: which are granted, in which order, and which cannot be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from resguardo.api.census import DatabaseProperties
from resguardo.api.request import Ownership
from resguardo.rules.aclitem import AclItem, in_order_of_granting, parse_acl_item
from resguardo.rules.enumeration import enumerated
from resguardo.rules.restore_facts import TargetFacts

#: What PUBLIC has on a database that nobody granted or revoked anything on.
DEFAULT_FOR_PUBLIC = ("c", "T")


@dataclass(frozen=True)
class DatabasePrivileges:
    """What is granted, each after the grant that allows it; what is left out, in sentences."""

    granted: tuple[AclItem, ...]
    omitted: tuple[str, ...] = ()


def plan_database_privileges(
    properties: DatabaseProperties, ownership: Ownership, facts: TargetFacts, *, acts_as: Collection[str]
) -> DatabasePrivileges:
    """Decide in whose name the connection's role can grant: the owner's, and those of the roles that it `acts_as`.

    A grant that rests on one that is left out is left out too: the server would warn, and grant nothing.
    """
    owner = properties.owner if ownership is Ownership.ORIGINAL else facts.role
    wanted = _wanted(properties, ownership, owner)
    granted: list[AclItem] = []
    left_out: list[AclItem] = []
    grantable: set[tuple[str, str]] = set()
    for item in in_order_of_granting(wanted, owner):
        can_be = {
            letter
            for letter, _ in item.privileges
            if item.grantor == owner
            or ((facts.is_superuser or item.grantor in acts_as) and (item.grantor, letter) in grantable)
        }
        kept = tuple(privilege for privilege in item.privileges if privilege[0] in can_be)
        lost = tuple(privilege for privilege in item.privileges if privilege[0] not in can_be)
        grantable |= {(item.grantee, letter) for letter, is_grantable in kept if is_grantable}
        granted += [replace(item, privileges=kept)] if kept else []
        left_out += [replace(item, privileges=lost)] if lost else []
    if not left_out:
        return DatabasePrivileges(tuple(granted))
    sentence = (
        "privileges on the database that another role than its owner had granted, in whose name role "
        f"{facts.role} cannot grant: {enumerated(sorted(map(str, left_out)))}"
    )
    return DatabasePrivileges(tuple(granted), (sentence,))


def _wanted(properties: DatabaseProperties, ownership: Ownership, owner: str) -> list[AclItem]:
    """With Ownership.ROLE: the owner everything, PUBLIC no more than in the original, nobody else anything."""
    whole = AclItem(owner, (("C", False), ("T", False), ("c", False)), owner)
    if properties.acl is None:
        public = AclItem("", tuple((letter, False) for letter in DEFAULT_FOR_PUBLIC), owner)
        return [public, whole]
    items = [parse_acl_item(text) for text in properties.acl]
    if ownership is Ownership.ORIGINAL:
        return items
    return [whole, *(AclItem("", item.privileges, owner) for item in items if not item.grantee)]
