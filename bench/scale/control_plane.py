"""An API server with its etcd, on loopback, for one bench: started for it, ended with it. No kubelet, no controllers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from bench.scale.ready import until_ready
from tests.fixtures.servers import free_port

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
        server = stack.enter_context(
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
        with found.session() as session:
            until_ready(server, f"{url}/readyz", folder / "apiserver.log", session)
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
def _running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)
