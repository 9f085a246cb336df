"""A small cluster that watches over what operators write, and fails where the tests say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resguardo.api.base import print_time
from resguardo.api.names import WRITER_VERSION_ANNOTATION
from resguardo.controller.cluster import ClusterError
from tests.unit.small_cluster import Body, SmallCluster


class AuditedCluster(SmallCluster):
    """Raises AssertionError at a write that no operator may make."""

    def __init__(self) -> None:
        super().__init__()
        #: What the write after so many answers: an HTTP status (0: none came), and whether it took effect all the same.
        self.fault: tuple[int, int, bool] | None = None
        #: Version of the operator that is at work.
        self.version = (0, 0, 0)
        #: Whether the operator acts on what it read a while ago.
        self.is_late = False
        #: What strangers made under names of ours.
        self.foreign: set[str] = set()

    def apply(self, body: Mapping[str, Any]) -> None:
        self._audit(body)
        takes_effect = self._answer()
        if takes_effect:
            super().apply(body)
        self._raise_fault(takes_effect)

    def create(self, body: Mapping[str, Any]) -> None:
        if body["kind"] == "Job" and body["metadata"]["name"].endswith("-restore"):
            self._audit_claim(body)
        takes_effect = self._answer()
        if takes_effect:
            super().create(body)
        self._raise_fault(takes_effect)

    def delete_job(self, namespace: str, name: str, uid: str) -> None:
        live = self._objects.get(("Job", name))
        if live is not None and live["metadata"]["uid"] == uid:
            assert uid not in self.foreign, f"Job {name} is a stranger's, and would be deleted"
        takes_effect = self._answer()
        if takes_effect:
            super().delete_job(namespace, name, uid)
        self._raise_fault(takes_effect)

    def put_status(self, resource: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        if (resource["kind"], resource["metadata"]["name"]) not in self._objects:
            raise ClusterError(404, "not found")
        takes_effect = self._answer()
        if takes_effect:
            super().put_status(resource, status)
        self._raise_fault(takes_effect)

    def body(self, kind: str, name: str) -> Body | None:
        """The object itself, for what only the model may do to it."""
        return self._objects.get((kind, name))

    def bodies(self, kind: str) -> list[Body]:
        """All of a kind, themselves."""
        return [body for (other, _), body in sorted(self._objects.items()) if other == kind]

    def _answer(self) -> bool:
        self._failed_with = None
        if self.fault is None:
            return True
        after, status, takes_effect = self.fault
        if after:
            self.fault = (after - 1, status, takes_effect)
            return True
        self.fault, self._failed_with = None, status
        return takes_effect

    def _raise_fault(self, takes_effect: bool) -> None:
        if self._failed_with is not None:
            raise ClusterError(self._failed_with, f"played; {'it' if takes_effect else 'nothing'} was done")

    def _audit(self, body: Mapping[str, Any]) -> None:
        kind, name = body["kind"], body["metadata"]["name"]
        live = self._objects.get((kind, name))
        if live is None or live["metadata"]["resourceVersion"] != body["metadata"].get("resourceVersion"):
            return  # the API server refuses, or makes it
        assert live["metadata"]["uid"] not in self.foreign, f"{kind} {name} is a stranger's, and would be written"
        stamped = (live["metadata"].get("annotations") or {}).get(WRITER_VERSION_ANNOTATION, "0.0.0")
        writer = tuple(int(part) for part in stamped.split("."))
        if not self.is_late:
            assert writer <= self.version, f"{kind} {name} was written by {stamped}, {self.version} would touch it"

    def _audit_claim(self, body: Mapping[str, Any]) -> None:
        """A claim precedes its Job, and one whose Job was seen never makes another."""
        owner = body["metadata"]["ownerReferences"][0]
        request = self._objects.get(("RestoreRequest", owner["name"]))
        if self.is_late or request is None or request["metadata"]["uid"] != owner["uid"]:
            return
        claim = request.get("status", {}).get("claim")
        assert claim is not None, f"{body['metadata']['name']} would be made without a claim"
        assert "jobUid" not in claim, f"{body['metadata']['name']} would be made a second time"
        assert "completedAt" not in request["status"], f"{body['metadata']['name']} would be made after the end"
        not_after = request["spec"].get("notAfter")
        assert not_after is None or print_time(self.now) < not_after, f"{body['metadata']['name']} is past notAfter"
