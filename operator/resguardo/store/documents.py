"""Small JSON documents in the bucket, each with the version of its format. Everything read there is untrusted."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from resguardo.api.base import Exchanged
from resguardo.api.errors import FormatTooNew, ManifestInvalid

M = TypeVar("M", bound=Exchanged)


def parse_document(model: type[M], body: bytes, what: str, *, known_version: int) -> M:
    """The document in these bytes; `what` names it in messages.

    Raises FormatTooNew for a version beyond `known_version`, and ManifestInvalid, with the fields that are wrong.
    """
    try:
        document = from_json(body)
    except ValueError as error:
        raise ManifestInvalid(f"{what} is no JSON: {error}") from None
    version = document.get("formatVersion") if isinstance(document, dict) else None
    if isinstance(version, int) and version > known_version:
        raise FormatTooNew(
            f"{what} has format {version}, and this Resguardo knows formats up to {known_version}: use a newer one"
        )
    try:
        return model.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) or "the whole" for problem in error.errors()[:5])
        raise ManifestInvalid(f"{what} cannot be read: {fields}") from None
