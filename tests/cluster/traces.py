"""Where a secret could be left behind, read from outside: processes on the node, logs, objects, the bucket."""

from __future__ import annotations

import base64
import re
import secrets
import threading
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zstandard

from tests.fixtures.cluster import Cluster

#: How often processes are looked at; pg_dump and its kin live for longer.
EVERY_SECONDS = 0.05


def plant(special: str) -> str:
    """A random string that occurs nowhere by chance, with special characters in its middle."""
    return f"x{secrets.token_hex(8)}{special}y{secrets.token_hex(8)}"


def needles(secret: str) -> list[str]:
    """What to look for: the parts that every way of quoting leaves as they are, and the whole in base64."""
    parts = re.findall(r"[A-Za-z0-9]{12,}", secret)
    # Wherever it starts in what was encoded; the first and last characters belong to its neighbours as well.
    encoded = [base64.b64encode(b" " * shift + secret.encode()).decode()[4:-4] for shift in range(3)]
    return parts + encoded


def finds(secret: str, text: str) -> bool:
    """Whether the text gives the secret away, or half of it."""
    return any(needle in text for needle in needles(secret))


class Processes:
    """Watches arguments and environment of all processes in pods on this machine, for as long as the block lasts."""

    def __init__(self) -> None:
        #: By uid of the pod.
        self.arguments: dict[str, set[str]] = defaultdict(set)
        self.environment: dict[str, set[str]] = defaultdict(set)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="processes of pods", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    self._look_at(folder)
                except OSError:  # it has ended meanwhile
                    continue

    def _look_at(self, folder: Path) -> None:
        found = re.search(r"/pod([0-9a-f]{8}[-_0-9a-f]{28})", (folder / "cgroup").read_text())
        if found is None:
            return
        uid = found.group(1).replace("_", "-")
        for name, seen in (("cmdline", self.arguments), ("environ", self.environment)):
            text = (folder / name).read_bytes().replace(b"\0", b"\n").decode(errors="replace")
            seen[uid].add(text)


def traces_in_cluster(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Text by place: the namespace's objects and logs, and the operator's log. Secrets alone are left out."""
    kinds = ("pods", "jobs", "cronjobs", "configmaps", "events", "backuppolicies", "restorerequests")
    texts = {kind: cluster.kubectl("get", kind, "-n", namespace, "-o", "yaml") for kind in kinds}
    texts["pods' logs"] = "\n".join(logs_by_pod(cluster, namespace).values())
    texts["operator's log"] = cluster.kubectl("logs", "-n", "resguardo-system", "deployment/resguardo-operator")
    (operator,) = cluster.list("pods", "resguardo-system", "app.kubernetes.io/component=operator")
    pod = f"/api/v1/namespaces/resguardo-system/pods/{operator['metadata']['name']}"
    texts["operator's HTTP"] = cluster.kubectl("get", "--raw", f"{pod}:8080/proxy/healthz")
    texts["operator's metrics"] = cluster.kubectl("get", "--raw", f"{pod}:8081/proxy/metrics")
    return texts


def logs_by_pod(cluster: Cluster, namespace: str) -> dict[str, str]:
    """The whole log of each pod."""
    logs = {}
    for name in [pod["metadata"]["name"] for pod in cluster.list("pods", namespace)]:
        try:
            logs[name] = cluster.kubectl("logs", "-n", namespace, name, "--all-containers", "--ignore-errors")
        except AssertionError as error:
            # A check that failed is made again, and the former one removed.
            if "NotFound" not in str(error):
                raise
    return logs


def traces_in_bucket(s3: Any, bucket: str) -> dict[str, str]:
    """Keys and contents of all objects, those of the backups' data apart; compressed ones unpacked."""
    texts: dict[str, list[str]] = {"bucket's documents": [], "bucket's data": []}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            if item["Key"].endswith(".zst"):
                body += zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
            place = "bucket's data" if "/data/" in item["Key"] else "bucket's documents"
            texts[place].append(item["Key"] + "\n" + body.decode(errors="replace"))
    return {place: "\n".join(parts) for place, parts in texts.items()}
