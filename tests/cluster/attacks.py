"""Ways around the admission policies: what whoever holds the operator's token would change in a Job or CronJob of ours.

Each entry changes one thing in an object that passes unchanged, so that a refusal has no other reason.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

PODS = "resguardo-operator-pods"
IMAGES = "resguardo-operator-images"
OBJECTS = "resguardo-operator-objects"

PLANTED = "planted"


@dataclass(frozen=True)
class Attack:
    """A change of the pod template, which policy refuses it, and words of its message."""

    name: str
    change: Callable[[Document], object]
    refused_by: str
    words: str


def template_of(body: Document) -> Document:
    """The pod template of a Job or CronJob."""
    spec = body["spec"]["jobTemplate"]["spec"] if body["kind"] == "CronJob" else body["spec"]
    found: Document = spec["template"]
    return found


def attacked(body: Document, attack: Attack) -> Document:
    """The object with the one change."""
    changed = copy.deepcopy(body)
    attack.change(template_of(changed))
    return changed


def _pod(**fields: Any) -> Callable[[Document], object]:
    return lambda template: template["spec"].update(copy.deepcopy(fields))


def _container(**fields: Any) -> Callable[[Document], object]:
    return lambda template: template["spec"]["containers"][0].update(copy.deepcopy(fields))


def _security(**fields: Any) -> Callable[[Document], object]:
    return lambda template: template["spec"]["containers"][0]["securityContext"].update(copy.deepcopy(fields))


def _environment(**entry: Any) -> Callable[[Document], object]:
    return lambda template: template["spec"]["containers"][0]["env"].append(entry)


def _volume(**kind: Any) -> Callable[[Document], object]:
    """One more volume of that kind, mounted where our program looks for a CA."""

    def change(template: Document) -> None:
        template["spec"]["volumes"].append({"name": "more", **copy.deepcopy(kind)})
        template["spec"]["containers"][0]["volumeMounts"].append({"name": "more", "mountPath": "/more"})

    return change


def _credentials(source: Document) -> Callable[[Document], object]:
    def change(template: Document) -> None:
        volume = next(item for item in template["spec"]["volumes"] if item["name"] == "credentials")
        volume["projected"]["sources"].append(copy.deepcopy(source))

    return change


def _claim(mount_path: str) -> Callable[[Document], object]:
    """A claim as a policy's volume is one, mounted elsewhere."""

    def attack(template: Document) -> None:
        volume = {"name": "store", "persistentVolumeClaim": {"claimName": PLANTED}}
        template["spec"]["volumes"].append(volume)
        template["spec"]["containers"][0]["volumeMounts"].append({"name": "store", "mountPath": mount_path})

    return attack


def _mount(index: int, **fields: Any) -> Callable[[Document], object]:
    return lambda template: template["spec"]["containers"][0]["volumeMounts"][index].update(fields)


def _more(kind: str, **fields: Any) -> Callable[[Document], object]:
    """One more container: ours, under another name."""

    def change(template: Document) -> None:
        more = copy.deepcopy(template["spec"]["containers"][0]) | {"name": "more", **fields}
        template["spec"][kind] = [*template["spec"].get(kind, []), more]

    return change


_SHELL = ["sh", "-c", "cat /etc/resguardo/credentials/*/*"]
_SECRET_ENV = {"secretKeyRef": {"name": PLANTED, "key": "password"}}
_EXEC = {"exec": {"command": _SHELL}}
_ONE_FIELD = "names no other field"
_CONTAINER_FIELD = "no command, probe, lifecycle hook"
_ENVIRONMENT = "the environment is"
_VOLUMES = "the volumes are"
_MOUNTS = "the volumes are mounted where"

ATTACKS = [
    Attack("another image", _container(image="registry.example/thief:1"), IMAGES, "image registry.example/thief:1"),
    Attack("our image's name with more at its end", _container(image="localhost/resguardo:dev-evil"), IMAGES, "image"),
    Attack("another service account", _pod(serviceAccountName="rich"), IMAGES, "service account rich"),
    Attack("a command", _container(command=_SHELL), PODS, _CONTAINER_FIELD),
    Attack("another task", _container(args=["operator", "--all-namespaces"]), PODS, "the arguments are"),
    Attack("a document of its own", _container(args=["backup", "-f", "/tmp/policy.json"]), PODS, "the arguments are"),
    Attack("no arguments", lambda t: t["spec"]["containers"][0].pop("args"), PODS, "the arguments are"),
    Attack("a hook that runs", _container(lifecycle={"postStart": _EXEC}), PODS, _CONTAINER_FIELD),
    Attack("a probe that runs", _container(startupProbe=_EXEC), PODS, _CONTAINER_FIELD),
    Attack("a terminal", _container(stdin=True), PODS, _CONTAINER_FIELD),
    Attack("a secret in the environment", _environment(name="HOME2", valueFrom=_SECRET_ENV), PODS, _ENVIRONMENT),
    Attack("all of a secret in the environment", _container(envFrom=[{"secretRef": {"name": PLANTED}}]), PODS, _CONTAINER_FIELD),
    Attack("a library before ours", _environment(name="LD_PRELOAD", value="/tmp/x.so"), PODS, _ENVIRONMENT),
    Attack("Python's start file", _environment(name="PYTHONSTARTUP", value="/tmp/x.py"), PODS, _ENVIRONMENT),
    Attack("a sidecar", _more("containers"), PODS, "one container"),
    Attack("an init container", _more("initContainers"), PODS, "one container"),
    Attack("a sidecar as Kubernetes has them", _more("initContainers", restartPolicy="Always"), PODS, "one container"),
    Attack("a secret as a volume", _volume(secret={"secretName": PLANTED}), PODS, _VOLUMES),
    Attack("a ConfigMap as a volume", _volume(configMap={"name": PLANTED}), PODS, _VOLUMES),
    Attack("a folder of the node", _volume(hostPath={"path": "/"}), PODS, _VOLUMES),
    Attack("a claim", _volume(persistentVolumeClaim={"claimName": PLANTED}), PODS, _VOLUMES),
    Attack("a driver", _volume(csi={"driver": "secrets-store.csi.k8s.io", "readOnly": True}), PODS, _VOLUMES),
    Attack("all keys of a secret", _credentials({"secret": {"name": PLANTED}}), PODS, _VOLUMES),
    Attack(
        "a secret where a program would look for it",
        _credentials({"secret": {"name": PLANTED, "items": [{"key": "password", "path": "database/service.conf"}]}}),
        PODS, _VOLUMES,
    ),
    Attack("a token among the credentials", _credentials({"serviceAccountToken": {"path": "token"}}), PODS, _VOLUMES),
    Attack("the pod's own fields among the credentials", _credentials({"downwardAPI": {"items": [
        {"path": "x", "fieldRef": {"fieldPath": "metadata.name"}}]}}), PODS, _VOLUMES),
    Attack("credentials elsewhere", _mount(1, mountPath="/tmp/credentials"), PODS, _MOUNTS),
    Attack("a folder that can be written over the program", _mount(2, mountPath="/opt/resguardo"), PODS, _MOUNTS),
    Attack("a claim over the program", _claim("/opt/resguardo"), PODS, _MOUNTS),
    Attack("a part of a volume", _mount(2, subPath="x"), PODS, _MOUNTS),
    Attack("a token, asked for", _pod(automountServiceAccountToken=True), PODS, "automountServiceAccountToken"),
    Attack("the node's network", _pod(hostNetwork=True), PODS, _ONE_FIELD),
    Attack("the node's processes", _pod(hostPID=True), PODS, _ONE_FIELD),
    Attack("the node's IPC", _pod(hostIPC=True), PODS, _ONE_FIELD),
    Attack("a node of its choice", _pod(nodeName="node"), PODS, _ONE_FIELD),
    Attack("another runtime", _pod(runtimeClassName="loose"), PODS, _ONE_FIELD),
    Attack("another address under the server's name", _pod(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["db"]}]), PODS, _ONE_FIELD),
    Attack("another name server", _pod(dnsConfig={"nameservers": ["192.0.2.1"]}), PODS, _ONE_FIELD),
    Attack("the node's name server", _pod(dnsPolicy="Default"), PODS, "dnsPolicy"),
    Attack("root", lambda t: t["spec"]["securityContext"].update(runAsUser=0, runAsNonRoot=False), PODS, "the pod's security context"),
    Attack("no seccomp", lambda t: t["spec"]["securityContext"].update(seccompProfile={"type": "Unconfined"}), PODS, "the pod's security context"),
    Attack("root, by the container", _security(runAsUser=0, runAsNonRoot=False), PODS, "the container's security context"),
    Attack("all privileges", _security(privileged=True, allowPrivilegeEscalation=True), PODS, "the container's security context"),
    Attack("a capability", _security(capabilities={"drop": ["ALL"], "add": ["SYS_PTRACE"]}), PODS, "the container's security context"),
    Attack("a root that can be written", _security(readOnlyRootFilesystem=False), PODS, "the container's security context"),
    Attack(
        "no AppArmor",
        lambda t: t["metadata"]["annotations"].update({"container.apparmor.security.beta.kubernetes.io/resguardo": "unconfined"}),
        PODS, "no annotation of the pod",
    ),
]  # fmt: skip
