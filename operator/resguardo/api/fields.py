"""Kinds of fields that both resources share, each with the bounds that the API server and the models check alike."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import WithJsonSchema
from pydantic_core import CoreSchema

from resguardo.api.base import Written
from resguardo.api.durations import DURATION_PATTERN, SPAN_PATTERN, parse_duration, parse_span, print_duration


def cel(rule: str, message: str) -> dict[str, str]:
    """One x-kubernetes-validations entry: a CEL rule and what the user reads when it does not hold."""
    return {"rule": rule, "message": message}


def cel_text(pattern: str) -> str:
    """A regular expression as it stands in a CEL rule, between single quotes."""
    return pattern.replace("\\", "\\\\")


def validations(*rules: dict[str, str]) -> dict[str, Any]:
    """The json_schema_extra that carries CEL rules into the CRD."""
    return {"x-kubernetes-validations": list(rules)}


class Union(Written):
    """A struct of which exactly one member is set (there is no field that is sometimes this and sometimes that)."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        schema.update(validations(exactly_one_rule(cls)))
        return schema

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        set_members = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(set_members) != 1:
            raise ValueError(exactly_one_message(type(self)))
        return self


def exactly_one_message(union: type[Written]) -> str:
    """What a user reads who set none or several members of a union."""
    members = [field.alias or name for name, field in union.model_fields.items()]
    return f"set {members[0]}" if len(members) == 1 else f"set exactly one of {', '.join(members)}"


def exactly_one_rule(union: type[Written]) -> dict[str, str]:
    """The CEL rule that the API server checks for a union."""
    members = [field.alias or name for name, field in union.model_fields.items()]
    count = " + ".join(f"(has(self.{member}) ? 1 : 0)" for member in members)
    return cel(f"{count} == 1", exactly_one_message(union))


def _bounded_duration(text: str) -> str:
    length = parse_duration(text)
    if not 10 <= length.total_seconds() <= 7 * 86400:
        raise ValueError(f"must be between 10s and 168h, not {print_duration(length)}")
    return text


#: How long something may run: 10 seconds to a week.
Timeout = Annotated[
    str,
    AfterValidator(_bounded_duration),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": DURATION_PATTERN,
            "minLength": 2,
            "maxLength": 20,
            **validations(
                cel(
                    "duration(self) >= duration('10s') && duration(self) <= duration('168h')",
                    "must be between 10s and 168h",
                )
            ),
        }
    ),
]

#: The same words at both doors.
_A_SPAN = "must be a number from 1 to 9999 and a unit, h, d, w, mo or y: such as 36h, 30d, 12w, 3mo or 1y"


def _checked_span(text: str) -> str:
    try:
        parse_span(text)
    except ValueError:
        raise ValueError(_A_SPAN) from None
    return text


#: How long something is kept. No `pattern`: the API server would quote it in place of these words.
KeepFor = Annotated[
    str,
    AfterValidator(_checked_span),
    WithJsonSchema({"type": "string", "maxLength": 16, **validations(cel(f"self.matches('{SPAN_PATTERN}')", _A_SPAN))}),
]

OBJECT_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
#: The name of another object, such as a Secret or a ServiceAccount: a DNS subdomain (RFC 1123).
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=OBJECT_NAME_PATTERN)]
#: A key in a Secret's or ConfigMap's data.
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]


class KeySelector(Written):
    """One key of a Secret or ConfigMap in the resource's namespace."""

    name: ObjectName = Field(description="Name of the object.")
    key: DataKey = Field("ca.crt", description="Key in its data.")


class CaRef(Union):
    """Where the certificates of the authorities to trust stand, in PEM. Exactly one member."""

    config_map: KeySelector | None = Field(None, description="A key of a ConfigMap.")
    secret: KeySelector | None = Field(None, description="A key of a Secret.")
