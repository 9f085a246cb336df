"""An API server with its etcd, on loopback, for one bench: started for it, ended with it. No kubelet, no controllers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from tests.fixtures.s3 import free_port

READY_SECONDS = 90
_TOKEN = "bench"  # noqa: S105 - of a server that listens on loopback for some minutes


@dataclass(frozen=True)
class ControlPlane:
    """Where it is, and how to log in to it."""

    url: str
    kubeconfig: Path

    def session(self) -> requests.Session:
        """HTTP for whoever plays somebody; not thread-safe."""
        session = requests.Session()
        session.trust_env = False  # no proxy, and no authorities of the machine's
        session.verify = False
        session.headers["Authorization"] = f"Bearer {_TOKEN}"
        return session


@contextmanager
def control_plane(kube: str, folder: Path) -> Iterator[ControlPlane]:
    """`kube` is the rig's binary of all Kubernetes servers (tests/rig/build.sh --path kube)."""
    etcd, peer, port = free_port(), free_port(), free_port()
    url = f"https://127.0.0.1:{port}"
    (folder / "tokens.csv").write_text(f"{_TOKEN},bench,bench,system:masters\n")
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(url)))
    key = folder / "sa.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True, timeout=30)
    with ExitStack() as stack:
        stack.enter_context(
            _running(
                [kube, "etcd", "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync", "--log-level", "error",
                 "--quota-backend-bytes", str(4 * 2**30),
                 "--listen-client-urls", f"http://127.0.0.1:{etcd}", "--advertise-client-urls", f"http://127.0.0.1:{etcd}",
                 "--listen-peer-urls", f"http://127.0.0.1:{peer}"],
                folder / "etcd.log",
            )
        )  # fmt: skip
        stack.enter_context(
            _running(
                [kube, "apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}", "--bind-address=127.0.0.1",
                 f"--secure-port={port}", f"--cert-dir={folder / 'pki'}", f"--token-auth-file={folder / 'tokens.csv'}",
                 "--authorization-mode=RBAC", "--service-cluster-ip-range=10.97.0.0/16",
                 "--service-account-issuer=https://bench", f"--service-account-key-file={key}",
                 f"--service-account-signing-key-file={key}", "--disable-admission-plugins=ServiceAccount",
                 "--endpoint-reconciler-type=none"],
                folder / "apiserver.log",
            )
        )  # fmt: skip
        found = ControlPlane(url, kubeconfig)
        _await(found, folder / "apiserver.log")
        yield found


def _kubeconfig(url: str) -> dict[str, object]:
    name = "bench"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": name, "user": {"token": _TOKEN}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


@contextmanager
def _running(argv: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def _await(plane: ControlPlane, log: Path) -> None:
    give_up = time.monotonic() + READY_SECONDS
    with plane.session() as session:
        while True:
            try:
                if session.get(f"{plane.url}/readyz", timeout=5).ok:
                    return
            except requests.RequestException:
                pass
            if time.monotonic() > give_up:
                raise TimeoutError(f"the API server did not get ready; the end of its log: {log.read_text()[-2000:]}")
            time.sleep(0.2)
