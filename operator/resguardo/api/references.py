"""Which fields of the resources name other objects, and of which kind: what kustomize has to be told.

The form of the file is that of the name references in
https://github.com/kubernetes-sigs/kustomize/blob/master/examples/transformerconfigs/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resguardo.api.crd import HEADER, structural_schema
from resguardo.api.fields import OBJECT_NAME_PATTERN
from resguardo.api.names import GROUP, POLICY_KIND, REQUEST_KIND, VERSION
from resguardo.api.policy import BackupPolicySpec
from resguardo.api.request import RestoreRequestSpec

#: Kind, group and version of what is named, by how the field ends that holds the name, or the object with the name.
_ENDINGS = {
    "SecretRef": ("Secret", "", "v1"),
    "secretRef": ("Secret", "", "v1"),
    "secret": ("Secret", "", "v1"),
    "imagePullSecrets": ("Secret", "", "v1"),
    "configMap": ("ConfigMap", "", "v1"),
    "serviceAccountName": ("ServiceAccount", "", "v1"),
    "claimName": ("PersistentVolumeClaim", "", "v1"),
    "priorityClassName": ("PriorityClass", "scheduling.k8s.io", "v1"),
    "policyRef": (POLICY_KIND, GROUP, VERSION),
}


def render_name_references() -> str:
    """YAML text: for each kind of object, the fields of both resources that name one."""
    fields = [
        (_named_by(path), f"      - {{group: {GROUP}, kind: {kind}, path: {path}}}")
        for kind, spec in ((POLICY_KIND, BackupPolicySpec), (REQUEST_KIND, RestoreRequestSpec))
        for path in _paths_of_names(structural_schema(spec), "spec")
    ]
    lines = ["nameReference:"]
    for kind, group, version in dict.fromkeys(_ENDINGS.values()):
        lines += [f"  - kind: {kind}", *([f"    group: {group}"] if group else []), f"    version: {version}"]
        lines += ["    fieldSpecs:", *(line for named, line in fields if named == (kind, group, version))]
    return HEADER + "\n".join(lines) + "\n"


def _named_by(path: str) -> tuple[str, str, str]:
    field = path.removesuffix("/name")
    for ending, named in _ENDINGS.items():
        if field.endswith(ending):
            return named
    raise ValueError(f"{path} names an object of a kind that is not known here; give it a line in {__name__}")


def _paths_of_names(schema: dict[str, Any], path: str) -> Iterator[str]:
    """As kustomize writes paths: lists are passed through without a word."""
    if schema.get("pattern") == OBJECT_NAME_PATTERN:
        yield path
    for name, field in schema.get("properties", {}).items():
        yield from _paths_of_names(field, f"{path}/{name}")
    if "items" in schema:
        yield from _paths_of_names(schema["items"], path)
