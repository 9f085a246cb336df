"""What the operator reacts to. A table of contents: an event names a resource, the queue does the rest.

Only event handlers and no returned values: so kopf leaves neither annotation nor finalizer on anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from resguardo.api.names import (
    GROUP,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    POLICY_KIND,
    POLICY_LABEL,
    REQUEST_KIND,
    REQUEST_LABEL,
    VERSION,
)
from resguardo.controller.outcome import Key

Wake = Callable[[Key], None]
#: What a resource is now; None where it is no more.
See = Callable[[Key, Mapping[str, Any] | None], None]
DELETED = "DELETED"

#: Objects in one answer to the first list of a kind. All of 5,000 CronJobs at once take 150 MB as text and as objects.
LIST_CHUNK = 250


def register(registry: kopf.OperatorRegistry, wake: Wake, see: See) -> None:
    """Every handler there is."""

    @kopf.on.login(registry=registry)
    def login(**arguments: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**arguments)

    @kopf.on.event(GROUP, VERSION, "backuppolicies", param=POLICY_KIND, registry=registry)
    @kopf.on.event(GROUP, VERSION, "restorerequests", param=REQUEST_KIND, registry=registry)
    async def resource_changed(
        type: str | None,  # noqa: A002 - kopf passes it by this name
        body: kopf.Body,
        name: str | None,
        namespace: str | None,
        param: Any = None,
        **_: Any,
    ) -> None:
        key = Key(param, namespace or "", name or "")
        see(key, None if type == DELETED else body)
        wake(key)

    @kopf.on.event("batch", "v1", "cronjobs", registry=registry)
    @kopf.on.event("batch", "v1", "jobs", registry=registry)
    @kopf.on.event("", "v1", "pods", registry=registry)
    async def work_changed(labels: Mapping[str, str], namespace: str | None, **_: Any) -> None:
        if policy := labels.get(POLICY_LABEL):
            wake(Key(POLICY_KIND, namespace or "", policy))
        if request := labels.get(REQUEST_LABEL):
            wake(Key(REQUEST_KIND, namespace or "", request))


def configured() -> kopf.OperatorSettings:
    """kopf's settings: only what carries our label, quiet, and without rights that a namespaced operator lacks."""
    settings = kopf.OperatorSettings()
    for resource in (("batch", "v1", "cronjobs"), ("batch", "v1", "jobs"), ("", "v1", "pods")):
        settings.watching.label_selectors[resource] = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
    settings.watching.chunk_size = LIST_CHUNK
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    return settings
