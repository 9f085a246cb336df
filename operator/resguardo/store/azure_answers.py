"""Lets no answer fill the memory: the SDK reads each whole, however long, and unpacks it."""

from __future__ import annotations

import re
from typing import Any

from azure.core.pipeline.transport import RequestsTransport

from resguardo.store.answers import bound, longest

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


def bounded_transport(**options: Any) -> RequestsTransport:
    """What sends requests, with the SDK's own options: no answer is longer than it can be, or than the range asked for."""
    transport = RequestsTransport(**options)
    transport.open()
    transport.session.hooks["response"].append(_bound)
    return transport


def _bound(answer: Any, **_: Any) -> None:
    asked = _RANGE.fullmatch(answer.request.headers.get("x-ms-range", "")) if answer.ok else None
    most = max(longest(answer.request.method, answer.status_code), int(asked[2]) - int(asked[1]) + 1 if asked else 0)
    bound(answer.raw, most)
