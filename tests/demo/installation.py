"""The operator, installed as a user would: `kubectl apply -k` of an overlay on the project's own, with an image named."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.demo.kubernetes import OPERATOR_NAMESPACE, ClusterError, Kubernetes
from tests.demo.surroundings import ROOT

#: Serves namespace agepar.
BASE = ROOT / "manifests" / "overlays" / "namespaced"
DEPLOYMENT = "resguardo-operator"


def install(kubernetes: Kubernetes, image: str, *, seconds: float) -> None:
    """Apply the CRDs and the operator, and wait until it runs. Raises ClusterError, with its pods' logs."""
    _refuse_another(kubernetes)
    with tempfile.TemporaryDirectory(prefix="resguardo-demo-") as folder:
        overlay = Path(folder).resolve()
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(_overlay(overlay, image)))
        # By force: whatever brought the CRDs earlier may have been Helm, or another field manager.
        kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(overlay))
    try:
        kubernetes.kubectl(
            "rollout", "status", f"deployment/{DEPLOYMENT}", "-n", OPERATOR_NAMESPACE, f"--timeout={seconds:.0f}s",
            timeout=seconds + 10,
        )  # fmt: skip
    except ClusterError as error:
        raise ClusterError(f"{error}\n\n{kubernetes.explain_operator()}") from None


def _refuse_another(kubernetes: Kubernetes) -> None:
    """Raise ClusterError where Helm installed the operator: its Deployment selects other pods, which cannot be changed."""
    helms = kubernetes.kubectl(
        "get", "deployments", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/managed-by=Helm",
        "-o", r"jsonpath={.items[*].metadata.annotations.meta\.helm\.sh/release-name}",
    )  # fmt: skip
    if helms.strip():
        raise ClusterError(
            f"an operator that Helm installed runs in {OPERATOR_NAMESPACE}, perhaps of tests that run now or were stopped: "
            f"helm uninstall {helms.strip()} -n {OPERATOR_NAMESPACE}"
        )


def _overlay(folder: Path, image: str) -> dict[str, Any]:
    name, separator, tag = image.rpartition(":")
    if not separator or "/" in tag:  # the colon is of a port: no tag
        name, tag = image, "latest"
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(BASE, folder)],
        "images": [{"name": "resguardo", "newName": name, "newTag": tag}],
    }
