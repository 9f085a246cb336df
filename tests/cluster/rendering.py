"""What kustomize and Helm make of this project's manifests and charts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import yaml

from tests.fixtures.cluster import ROOT, Cluster


def kustomized(cluster: Cluster, folder: Path) -> list[dict[str, Any]]:
    """The objects of a kustomization."""
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(folder))))


def templated(
    cluster: Cluster, *values: str, release: str = "resguardo", namespace: str = "resguardo-system"
) -> list[dict[str, Any]]:
    """The objects of the operator's chart."""
    options = list(itertools.chain.from_iterable(("--set", value) for value in values))
    chart = str(ROOT / "charts/resguardo")
    text = cluster.run("helm", "template", release, chart, "-n", namespace, *options)
    return [body for body in yaml.safe_load_all(text) if body]


def only(bodies: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of that kind and name."""
    (found,) = [body for body in bodies if body["kind"] == kind and body["metadata"]["name"] == name]
    return found
