"""What the demo applies: manifests/examples as they stand, told where this cluster's servers are, and with keys of its own."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from psycopg.conninfo import conninfo_to_dict

from tests.demo.kubernetes import Document
from tests.demo.surroundings import ROOT, Surroundings

NAMESPACE = "agepar"
POLICY = "portal-prod"
CA_CONFIG_MAP = "certificate-authorities"

EXAMPLES = ROOT / "manifests" / "examples"


def namespace() -> Document:
    """The namespace, with Pod Security "restricted" enforced."""
    enforced = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": enforced}}


def credentials(place: Surroundings, *, backup_role: str, backup_password: str, identity: str) -> list[Document]:
    """The Secrets: one role that reads production, one key for the bucket, who may restore on either server, and what opens backups."""
    prod, homolog = conninfo_to_dict(place.prod_dsn), conninfo_to_dict(place.homolog_dsn)
    return [
        _secret("db-prod-backup", username=backup_role, password=backup_password),
        _secret("backups", AWS_ACCESS_KEY_ID=place.s3_access_key, AWS_SECRET_ACCESS_KEY=place.s3_secret_key),
        _secret("db-prod-restore", username=str(prod["user"]), password=str(prod["password"])),
        _secret("db-homolog-restore", username=str(homolog["user"]), password=str(homolog["password"])),
        _secret("age-identity", identity=identity),
    ]


def certificate_authorities(place: Surroundings) -> Document:
    """The authorities that vouch for the servers, where there are any."""
    found = {"s3.crt": place.s3_ca, "postgres.crt": place.postgres_ca}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CA_CONFIG_MAP, "namespace": NAMESPACE},
        "data": {key: path.read_text() for key, path in found.items() if path},
    }


def policy(place: Surroundings, recipients: Sequence[str], *, from_pods: bool = True) -> Document:
    """policy.yaml for these servers, as pods reach the bucket or as this machine does; the S3 server has one key for all."""
    document = _read("policy.yaml")
    source, store = document["spec"]["source"]["postgres"], document["spec"]["store"]["s3"]
    _reach(source["connection"], place.prod_host, place)
    store |= {"endpoint": place.s3_pod_endpoint if from_pods else place.s3_endpoint, "region": place.s3_region}
    store["credentials"] = {"secretRef": {"name": "backups"}}
    document["spec"]["encryption"]["age"]["recipients"] = list(recipients)
    if place.s3_ca:
        store["caRef"] = {"configMap": {"name": CA_CONFIG_MAP, "key": "s3.crt"}}
    return document


def restore_to_prod(place: Surroundings, name: str) -> Document:
    """restore-latest.yaml for the server that was struck."""
    return _request(name, place.prod_host, "db-prod-restore", place)


def restore_to_homolog(place: Surroundings, name: str) -> Document:
    """restore-latest.yaml for the empty server; missing roles are made, which is the default, said here for the reader."""
    document = _request(name, place.homolog_host, "db-homolog-restore", place)
    document["spec"]["target"]["postgres"]["globals"] = "CreateMissing"
    return document


def _request(name: str, host: str, secret: str, place: Surroundings) -> Document:
    document = _read("restore-latest.yaml")
    document["metadata"]["name"] = name
    connection = document["spec"]["target"]["postgres"]["connection"]
    _reach(connection, host, place)
    connection["credentialsSecretRef"] = {"name": secret}
    return document


def _reach(connection: Document, host: str, place: Surroundings) -> None:
    connection["host"] = host
    if place.postgres_ca is None:
        connection["sslMode"] = "disable"
        del connection["caRef"]
    else:
        connection["caRef"] = {"configMap": {"name": CA_CONFIG_MAP, "key": "postgres.crt"}}


def _secret(name: str, **data: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": data,
    }


def _read(name: str) -> Document:
    document: Document = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    return document
