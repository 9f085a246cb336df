"""Privileges as the catalogs print them: aclitem.

src/backend/utils/adt/acl.c: putid, aclitemout. Privileges of a database: C is CREATE, c CONNECT, T TEMPORARY.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class AclItem:
    """One grantor's grants to one grantee, "" for PUBLIC; each privilege letter with whether it may be granted on."""

    grantee: str
    privileges: tuple[tuple[str, bool], ...]
    grantor: str

    def __str__(self) -> str:
        letters = "".join(letter + ("*" if is_grantable else "") for letter, is_grantable in self.privileges)
        return f"{_put(self.grantee)}={letters}/{_put(self.grantor)}"


# Before PostgreSQL 18, letters outside ASCII may stand without quotes.
_NAME = r'(?:"(?:[^"]|"")*"|[^"=/]*)'
_ITEM = re.compile(rf"(?P<grantee>{_NAME})=(?P<letters>(?:[A-Za-z]\*?)*)/(?P<grantor>{_NAME})", re.DOTALL)


def _put(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def _get(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def parse_acl_item(text: str) -> AclItem:
    """The grants that an aclitem's text stands for; ValueError where it is none.

    >>> parse_acl_item('"we ird"=C*c/app')
    AclItem(grantee='we ird', privileges=(('C', True), ('c', False)), grantor='app')
    """
    match = _ITEM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an aclitem")
    letters = tuple((letter, star == "*") for letter, star in re.findall(r"([A-Za-z])(\*?)", match["letters"]))
    return AclItem(_get(match["grantee"]), letters, _get(match["grantor"]))


def in_order_of_granting(items: Sequence[AclItem], owner: str) -> Iterator[AclItem]:
    """The owner's grants first, then each one after the grant that allows it; a grant that nothing allows comes last."""
    able = {owner}
    left = list(items)
    while left:
        ready = [item for item in left if item.grantor in able] or left
        yield from ready
        able.update(item.grantee for item in ready if any(is_grantable for _, is_grantable in item.privileges))
        left = [item for item in left if item not in ready]
