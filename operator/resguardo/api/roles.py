"""Three roles in a store: what a task's pod may do there is what its task needs, and no pod holds another role's keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from resguardo.api.base import Written
from resguardo.api.fields import ObjectName, cel, validations


class Role(StrEnum):
    """Who a task is to its store."""

    #: Checks and makes backups: adds objects, reads the small ones, removes nothing.
    WRITER = "writer"
    #: Enforces retention: marks and removes, and reads no data.
    PRUNER = "pruner"
    #: Restores, verifies and shows: reads everything, changes nothing.
    READER = "reader"


class Identity(Written):
    """Who pods are to a store, in exactly one of several ways."""

    #: The fields that are ways; the others belong to whichever is set.
    ways: ClassVar[tuple[str, ...]] = ("service_account_name",)

    service_account_name: ObjectName | None = Field(
        None,
        description="A ServiceAccount that the cloud knows: the role's pods run as it, and have no key of their own.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        schema.update(validations(*(cel(rule, message) for rule, message in cls._rules())))
        return schema

    @classmethod
    def _rules(cls) -> list[tuple[str, str]]:
        return [(f"{_count(cls.ways)} == 1", f"set {_one_of(cls.ways)}")]

    @model_validator(mode="after")
    def _holds(self) -> Self:
        if self._set_ways != 1:
            raise ValueError(f"set {_one_of(self.ways)}")
        return self

    @property
    def _set_ways(self) -> int:
        return sum(getattr(self, way) is not None for way in self.ways)


Who = TypeVar("Who", bound=Identity)


class RoleCredentials(Identity, Generic[Who]):
    """Who pods are to a store: one identity for every role that is not named, or one for each of the three.

    A subclass is one of the store's identities itself: that of all that have none.
    """

    writer: Who | None = Field(None, description="Of checks and backups: they add, and remove nothing.")
    pruner: Who | None = Field(None, description="Of retention: it removes, and reads no data.")
    reader: Who | None = Field(None, description="Of restores: they read, and change nothing.")

    @classmethod
    def _rules(cls) -> list[tuple[str, str]]:
        all_roles = " && ".join(f"has(self.{role})" for role in Role)
        ways = _count(cls.ways)
        return [
            (f"{ways} <= 1", cls._several()),
            (f"{ways} > 0 || ({all_roles})", cls._nobody()),
            (f"{ways} == 0 || !({all_roles})", cls._unused()),
        ]

    @model_validator(mode="after")
    def _holds(self) -> Self:
        named = all(getattr(self, role.value) is not None for role in Role)
        if self._set_ways > 1:
            raise ValueError(self._several())
        if self._set_ways == 0 and not named:
            raise ValueError(self._nobody())
        if self._set_ways == 1 and named:
            raise ValueError(self._unused())
        return self

    def of(self, role: Role) -> Who:
        """The identity of a role: its own, or that of all that have none."""
        return cast("Who", getattr(self, role.value) or self)

    @classmethod
    def _several(cls) -> str:
        return f"set at most {_one_of(cls.ways).removeprefix('exactly ')}"

    @classmethod
    def _nobody(cls) -> str:
        return f"set {_one_of(cls.ways)}, for every role that is not named here; or name each of {', '.join(Role)}"

    @classmethod
    def _unused(cls) -> str:
        return (
            f"{', '.join(Role)} are each named, so that nobody uses {' or '.join(map(to_camel, cls.ways))}: take it out"
        )


def _count(ways: tuple[str, ...]) -> str:
    return "(" + " + ".join(f"(has(self.{to_camel(way)}) ? 1 : 0)" for way in ways) + ")"


def _one_of(ways: tuple[str, ...]) -> str:
    return f"exactly one of {', '.join(map(to_camel, ways))}"
