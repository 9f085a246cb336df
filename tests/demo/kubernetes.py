"""kubectl, as a person would use it, with deadlines; and all that a person would look at when one passes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.demo.surroundings import ROOT

Document = dict[str, Any]

MARKER = "resguardo-rig"
MARKER_LABEL = "resguardo.dev/may-be-used-up=true"
OPERATOR_NAMESPACE = "resguardo-system"


class ClusterError(Exception):
    """kubectl failed, or a wait reached its deadline; the message holds what a person needs to see why."""


@dataclass(frozen=True)
class Kubernetes:
    """One cluster, and the namespace in it that the demo plays in."""

    namespace: str
    environment: Mapping[str, str] = field(repr=False)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """What kubectl prints to standard output. Raises ClusterError. Secrets go through `stdin` alone."""
        argv = ["kubectl", *arguments]
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                env=dict(self.environment),
                cwd=ROOT,
                check=False,
            )
        except FileNotFoundError:
            raise ClusterError("kubectl is not on PATH; `source .rig/env` puts the rig's there") from None
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{' '.join(argv)}: not done within {timeout:.0f} s") from None
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def refuse_unmarked(self) -> None:
        """Raise ClusterError unless somebody marked the cluster as one that may be used up."""
        marked = self.kubectl("get", "configmap", "-n", "kube-system", "-l", MARKER_LABEL, "-o", "name")
        if f"configmap/{MARKER}" not in marked.split():
            raise ClusterError(
                f"the cluster of context {self.kubectl('config', 'current-context').strip()} is not marked as one that may "
                "be used up, and the demo deletes a namespace and drops databases. To mark it:\n"
                f"  kubectl create configmap {MARKER} -n kube-system\n"
                f"  kubectl label configmap {MARKER} -n kube-system {MARKER_LABEL}"
            )

    def apply(self, *documents: Document) -> None:
        """Apply documents, through standard input: they may hold secrets."""
        self.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(documents, allow_unicode=True))

    def get(self, kind: str, name: str) -> Document | None:
        """One object of the namespace, or None."""
        text = self.kubectl("get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found")
        found: Document | None = json.loads(text) if text.strip() else None
        return found

    def wait(self, kind: str, name: str, *, until: str, seconds: float, check: Callable[[Document], bool]) -> Document:
        """The object as soon as `check` says so. Raises ClusterError past the deadline, or with what `check` raised, and why."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.get(kind, name)
            try:
                if found is not None and check(found):
                    return found
            except ClusterError as bad_end:
                raise ClusterError(f"{kind}/{name}: {bad_end}\n\n{self.explain(kind, name)}") from None
            time.sleep(0.5)
        raise ClusterError(f"{kind}/{name}: {until}: not within {seconds:.0f} s\n\n{self.explain(kind, name)}")

    def explain(self, kind: str, name: str) -> str:
        """Conditions, events, pods and the ends of their logs."""
        status = (self.get(kind, name) or {}).get("status", "none")
        namespaced = ["-n", self.namespace]
        return "\n".join(
            [
                f"status of {kind}/{name}:\n{yaml.safe_dump(status, allow_unicode=True, width=160)}",
                self._look("get", "cronjobs,jobs,pods", *namespaced, "-o", "wide"),
                self._look("get", "events", *namespaced, "--sort-by=.lastTimestamp"),
                *(self._logs(self.namespace, pod) for pod in self._pods(self.namespace)),
                self.explain_operator(),
            ]
        )

    def explain_operator(self) -> str:
        """Its pods, their events and the ends of their logs."""
        namespaced = ["-n", OPERATOR_NAMESPACE]
        return "\n".join(
            [
                self._look("get", "pods", *namespaced, "-o", "wide"),
                self._look("get", "events", *namespaced, "--sort-by=.lastTimestamp"),
                *(self._logs(OPERATOR_NAMESPACE, pod) for pod in self._pods(OPERATOR_NAMESPACE)),
            ]
        )

    def _logs(self, namespace: str, pod: str) -> str:
        command = ["logs", "-n", namespace, pod, "--tail=40"]
        now = self._look(*command)
        # A container that is waiting to be started again has nothing to say now.
        return now if now.count("\n") > 1 else self._look(*command, "--previous")

    def _look(self, *arguments: str) -> str:
        try:
            printed = self.kubectl(*arguments)
        except ClusterError as error:
            printed = str(error)
        return f"$ kubectl {' '.join(arguments)}\n{printed}"

    def _pods(self, namespace: str) -> list[str]:
        try:
            return self.kubectl("get", "pods", "-n", namespace, "-o", "name").split()
        except ClusterError:
            return []


def condition(document: Document, kind: str) -> Document:
    """A condition of the resource's present generation; an Unknown one where there is none yet."""
    status = document.get("status", {})
    if status.get("observedGeneration") == document["metadata"]["generation"]:
        for item in status.get("conditions", []):
            if item["type"] == kind:
                return dict(item)
    return {"type": kind, "status": "Unknown", "reason": "NotYet", "message": ""}
