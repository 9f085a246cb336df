"""The CustomResourceDefinitions, rendered from the models: the models are the only source of both.

Structural schemas as https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
asks for them: no $ref, no null, a type everywhere.
"""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from resguardo.api.fields import cel, validations
from resguardo.api.names import GROUP, POLICY_KIND, POLICY_NAME_MAX, REQUEST_KIND, REQUEST_NAME_MAX, VERSION
from resguardo.api.policy import BackupPolicySpec, BackupPolicyStatus
from resguardo.api.request import RestoreRequestSpec, RestoreRequestStatus

HEADER = "# Rendered by `resguardo crd` from the models in operator/resguardo/api. Do not edit.\n"

_DROPPED = {"title", "$defs", "additionalProperties"}


def render_crds() -> dict[str, str]:
    """File name to YAML text, one for each resource."""
    return {f"{GROUP}_{crd['spec']['names']['plural']}.yaml": _to_yaml(crd) for crd in (_policy_crd(), _request_crd())}


def structural_schema(model: type[BaseModel], *, mode: str = "validation") -> dict[str, Any]:
    """The structural OpenAPI schema of a model, by alias."""
    schema = model.model_json_schema(by_alias=True, mode="serialization" if mode == "serialization" else "validation")
    return _structural(schema, schema.get("$defs", {}))


def _structural(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        referred = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**referred, **{key: value for key, value in schema.items() if key != "$ref"}}
    if "anyOf" in schema:
        (alternative,) = (item for item in schema["anyOf"] if item.get("type") != "null")
        schema = {**alternative, **{key: value for key, value in schema.items() if key != "anyOf"}}
        return _structural(schema, definitions)
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: _structural(item, definitions) for name, item in value.items()}
        elif (key == "additionalProperties" and isinstance(value, dict)) or key == "items":
            result[key] = _structural(value, definitions)
        elif key == "default":
            # An object whose fields are all absent is no default worth writing into everybody's resource.
            if value is not None and not isinstance(value, dict):
                result[key] = value
        elif key == "propertyNames":
            result["x-kubernetes-validations"] = [*result.get("x-kubernetes-validations", []), *_key_rules(value)]
        elif key not in _DROPPED:
            result[key] = value
    if result.get("format") == "date-time":
        result["maxLength"] = 64
    if rules := schema.get("x-kubernetes-validations"):
        added = [rule for rule in result.get("x-kubernetes-validations", []) if rule not in rules]
        result["x-kubernetes-validations"] = [*rules, *added]
    return result


def _key_rules(names: dict[str, Any]) -> list[dict[str, str]]:
    return (
        [cel(f"self.all(key, size(key) <= {names['maxLength']})", "a key is too long")] if "maxLength" in names else []
    )


def _column(name: str, path: str, kind: str = "string", *, description: str, priority: int = 0) -> dict[str, Any]:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})


def _condition(kind: str, field: str) -> str:
    return f".status.conditions[?(@.type=='{kind}')].{field}"


def _crd(
    *,
    kind: str,
    plural: str,
    short_name: str,
    description: str,
    spec: type[BaseModel],
    status: type[BaseModel],
    name_max: int,
    columns: list[dict[str, Any]],
) -> dict[str, Any]:
    name_rule = cel(
        f"size(self.metadata.name) <= {name_max} && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        f"metadata.name must be at most {name_max} characters: small letters, digits and dashes, no dots",
    )
    status_schema = structural_schema(status, mode="serialization")
    status_schema.pop("required", None)
    status_schema["properties"]["conditions"] |= {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    # What the operator did not write is not there: the API server adds nothing.
    for field in status_schema["properties"].values():
        field.pop("default", None)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # helm uninstall must not take every policy and request with it.
        "metadata": {"name": f"{plural}.{GROUP}", "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": ["resguardo"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {
                        "openAPIV3Schema": {
                            "description": description,
                            "type": "object",
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": structural_schema(spec),
                                "status": status_schema,
                            },
                            **validations(name_rule),
                        }
                    },
                }
            ],
        },
    }


def _policy_crd() -> dict[str, Any]:
    return _crd(
        kind=POLICY_KIND,
        plural="backuppolicies",
        short_name="bp",
        description="What is backed up, where to, when, and for how long it is kept.",
        spec=BackupPolicySpec,
        status=BackupPolicyStatus,
        name_max=POLICY_NAME_MAX,
        columns=[
            _column("Schedule", ".spec.schedule", description="When backups start."),
            _column(
                "Last Backup", ".status.lastBackup.completedAt", "date", description="Age of the newest good backup."
            ),
            _column("Size", ".status.lastBackup.size", description="Size of the newest good backup."),
            _column("Backups", ".status.inventory.backups", "integer", description="Committed backups in the bucket."),
            _column("Verified", _condition("Verified", "status"), description="Whether a drill restored a backup."),
            _column("Ready", _condition("Ready", "status"), description="Whether the promise is being kept."),
            _column("Reason", _condition("Ready", "reason"), description="Why it is, or is not.", priority=1),
            _column("Age", ".metadata.creationTimestamp", "date", description="Age of the policy."),
        ],
    )


def _request_crd() -> dict[str, Any]:
    return _crd(
        kind=REQUEST_KIND,
        plural="restorerequests",
        short_name="rr",
        description="Bring a backup back, once.",
        spec=RestoreRequestSpec,
        status=RestoreRequestStatus,
        name_max=REQUEST_NAME_MAX,
        columns=[
            _column("Policy", ".spec.from.policyRef.name", description="Policy whose backup is restored."),
            _column("Backup", ".status.backup.id", description="Backup that is restored."),
            _column("Target", ".spec.target.postgres.database", description="Database that is made."),
            _column("State", _condition("Succeeded", "reason"), description="How it stands, or how it ended."),
            _column("Duration", ".status.duration", description="How long the restore took."),
            _column("Message", _condition("Succeeded", "message"), description="What that means.", priority=1),
            _column("Age", ".metadata.creationTimestamp", "date", description="Age of the request."),
        ],
    )


class _Dumper(yaml.SafeDumper):
    """Writes lists indented and never by reference, as people write YAML."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _to_yaml(body: dict[str, Any]) -> str:
    return HEADER + yaml.dump(body, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
