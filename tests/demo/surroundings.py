"""The cluster and the servers that the demo works with: the rig's, or those that its user names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What `make cluster` leaves for each kind of cluster.
WRITTEN = {"rig": ROOT / ".rig" / "env", "current": ROOT / ".rig" / "current" / "env"}

#: What must be known, and what it is; asked for all at once.
NEEDED = {
    "RIG_IMAGE": "image of the operator, as the cluster's nodes know it",
    "RIG_S3_ENDPOINT": "URL of an S3 server, from this machine",
    "RIG_S3_ACCESS_KEY": "access key that may make a bucket there",
    "RIG_S3_SECRET_KEY": "its secret",
    "RIG_PROD_DSN": "superuser's connection URL of the PostgreSQL 15 that plays production, from this machine",
    "RIG_HOMOLOG_DSN": "the same of an empty one",
    "RIG_POD_S3_ENDPOINT": "the S3 server's URL from pods",
    "RIG_POD_PROD_HOST": "host name of the first PostgreSQL from pods",
    "RIG_POD_HOMOLOG_HOST": "host name of the second PostgreSQL from pods",
}
#: With these, pods speak TLS and check whom they speak to.
OPTIONAL = {
    "RIG_POD_S3_TLS_ENDPOINT": "the S3 server's https URL from pods",
    "RIG_S3_TLS_ENDPOINT": "the same from this machine",
    "RIG_S3_CA": "file with the certificate authority of that",
    "RIG_PG_CA": "file with the certificate authority of both PostgreSQL servers",
    "RIG_S3_REGION": "region of the bucket",
}


class Missing(Exception):
    """Something that the demo needs is not there; the message says all of it."""


@dataclass(frozen=True)
class Surroundings:
    """Where everything is. `environment` is what kubectl runs with."""

    image: str
    s3_endpoint: str
    s3_pod_endpoint: str
    s3_region: str
    s3_access_key: str
    s3_secret_key: str = field(repr=False)
    s3_ca: Path | None
    prod_dsn: str = field(repr=False)
    prod_host: str
    homolog_dsn: str = field(repr=False)
    homolog_host: str
    postgres_ca: Path | None
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Surroundings:
        """Read the RIG_* variables; raises Missing naming each that is not set."""
        absent = [f"  {name}: {meaning}" for name, meaning in NEEDED.items() if not environment.get(name)]
        if absent:
            optional = [f"  {name}: {meaning}" for name, meaning in OPTIONAL.items()]
            raise Missing("\n".join(["set these variables:", *absent, "and, for TLS:", *optional]))
        tls = all(environment.get(name) for name in ("RIG_S3_CA", "RIG_S3_TLS_ENDPOINT", "RIG_POD_S3_TLS_ENDPOINT"))
        postgres_ca = environment.get("RIG_PG_CA")
        return cls(
            image=environment["RIG_IMAGE"],
            s3_endpoint=environment["RIG_S3_TLS_ENDPOINT" if tls else "RIG_S3_ENDPOINT"],
            s3_pod_endpoint=environment["RIG_POD_S3_TLS_ENDPOINT" if tls else "RIG_POD_S3_ENDPOINT"],
            s3_region=environment.get("RIG_S3_REGION") or "us-east-1",
            s3_access_key=environment["RIG_S3_ACCESS_KEY"],
            s3_secret_key=environment["RIG_S3_SECRET_KEY"],
            s3_ca=Path(environment["RIG_S3_CA"]) if tls else None,
            prod_dsn=environment["RIG_PROD_DSN"],
            prod_host=environment["RIG_POD_PROD_HOST"],
            homolog_dsn=environment["RIG_HOMOLOG_DSN"],
            homolog_host=environment["RIG_POD_HOMOLOG_HOST"],
            postgres_ca=Path(postgres_ca) if postgres_ca else None,
            environment=environment,
        )


def surroundings(cluster: str, environment: Mapping[str, str] = os.environ) -> Surroundings:
    """What the environment says; where it says nothing, what `make cluster` wrote for this kind of cluster."""
    if "RIG_PROD_DSN" not in environment and WRITTEN[cluster].exists():
        environment = _sourced(WRITTEN[cluster])
    elif "RIG_PROD_DSN" not in environment and cluster == "rig":
        raise Missing("the rig is not up: run `make cluster`, or `make demo`, which does")
    return Surroundings.from_environment(environment)


def _sourced(path: Path) -> dict[str, str]:
    """The environment after a shell has read a file that is written to be sourced."""
    printed = subprocess.run(
        ["bash", "-c", 'source "$1" && env -0', "bash", str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout
    return dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)
