"""Policies and requests from YAML or JSON text, with every mistake named by its field's path."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import ValidationError

from resguardo.api.errors import DocumentInvalid
from resguardo.api.names import API_VERSION, POLICY_KIND, REQUEST_KIND
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import RestoreRequest

Document = BackupPolicy | RestoreRequest

_MODELS: dict[str, type[BackupPolicy] | type[RestoreRequest]] = {
    POLICY_KIND: BackupPolicy,
    REQUEST_KIND: RestoreRequest,
}


def read_documents(text: str, *, origin: str) -> list[Document]:
    """The policies and requests in a file, other kinds passed over; `origin` names the file in messages.

    Raises DocumentInvalid with all mistakes of all documents at once.
    """
    try:
        bodies = [body for body in yaml.safe_load_all(text) if body is not None]
    except yaml.YAMLError as error:
        raise DocumentInvalid(f"{origin} is not YAML: {error}") from None
    except (ValueError, OverflowError) as error:  # a date in month 13, a number of thousands of digits
        raise DocumentInvalid(f"{origin} holds a value that is none: {error}") from None
    except RecursionError:
        raise DocumentInvalid(f"{origin} is nested too deep for any policy or request") from None
    documents: list[Document] = []
    problems: list[str] = []
    for body in bodies:
        if not isinstance(body, dict) or body.get("kind") not in tuple(_MODELS):
            continue
        try:
            documents.append(read_document(body))
        except DocumentInvalid as error:
            problems.append(str(error))
    if problems:
        raise DocumentInvalid(f"{origin}: " + "; ".join(problems))
    return documents


def read_document(body: dict[str, Any]) -> Document:
    """One policy or request from its parsed body; raises DocumentInvalid with every field that is wrong."""
    kind, version = body.get("kind"), body.get("apiVersion")
    if not isinstance(kind, str) or kind not in _MODELS:
        raise DocumentInvalid(f"kind {str(kind)[:64]!r} is none of {', '.join(_MODELS)}")
    if version != API_VERSION:
        raise DocumentInvalid(f"{kind} has apiVersion {str(version)[:64]!r}; this version reads {API_VERSION}")
    try:
        return _MODELS[kind].model_validate(body)
    except ValidationError as error:
        raise DocumentInvalid(f"{kind} is invalid: " + "; ".join(describe(error))) from None


def describe(error: ValidationError) -> list[str]:
    """One line for each mistake: the field's path, and what is wrong with it."""
    return [f"{_path(item['loc'])}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()]


def _path(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.removeprefix(".") or "document"
