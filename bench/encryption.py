"""What encryption costs a backup: with age, and by the store; `--write` puts the answer into docs/benchmarks.md.

Every side is the same backup of the same database, in turns. age is compared with a plain backup to the same server, and so is
encryption by MinIO, which is told to by each policy: one server, with a KMS, does both.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import pyrage
import structlog

from bench.document import write_section
from bench.machine import facts
from bench.measure import Run
from bench.servers import servers
from bench.sides import BUCKET, Bench
from bench.turns import in_turns, told
from tests.fixtures.minio import KMS_KEY, new_kms_key, run_minio
from tests.fixtures.s3 import S3Server

#: A side's name, and that of the side which it is compared with.
AGAINST = {
    "versitygw, plain": None,
    "versitygw, age": "versitygw, plain",
    "MinIO, plain": None,
    "MinIO, age": "MinIO, plain",
    "MinIO, AES256": "MinIO, plain",
    "MinIO, aws:kms": "MinIO, plain",
    "MinIO, age and aws:kms": "MinIO, plain",
}
AIM = 1.10


def main() -> int:
    """The exit status: 0 when everything ran; the aim is for people to look at."""
    parser = argparse.ArgumentParser(prog="python -m bench.encryption", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2048, help="about how large the database is (default: 2048)")
    parser.add_argument("--rounds", type=int, default=3, help="backups of each side (default: 3)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    began = facts()
    with tempfile.TemporaryDirectory(prefix="resguardo-bench-") as name, servers(Path(name)) as (postgres, versitygw):
        folder = Path(name)
        (folder / "minio").mkdir()
        with run_minio(folder / "minio", MINIO_KMS_SECRET_KEY=new_kms_key()) as minio:
            bench = Bench(postgres, versitygw, folder)
            with told(f"filling a database of about {arguments.megabytes} MB"):
                size = bench.prepare(arguments.megabytes)
            minio.client().create_bucket(Bucket=BUCKET)
            policies = _policies(bench, versitygw, minio)
            runs = in_turns(arguments.rounds, {side: partial(bench.back_up, path) for side, path in policies.items()})
    report = render(began, runs, database_bytes=size)
    print(report)
    if arguments.write:
        write_section("encryption", report)
    return 0


def _policies(bench: Bench, versitygw: S3Server, minio: S3Server) -> dict[str, Path]:
    recipients = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2)]
    age = {"encryption": {"age": {"recipients": recipients}}}
    aes, kms = {"type": "AES256"}, {"type": "aws:kms", "kmsKeyId": KMS_KEY}
    return {
        "versitygw, plain": bench.write_policy("plain", versitygw),
        "versitygw, age": bench.write_policy("age", versitygw, **age),
        "MinIO, plain": bench.write_policy("minio-plain", minio),
        "MinIO, age": bench.write_policy("minio-age", minio, **age),
        "MinIO, AES256": bench.write_policy("minio-aes", minio, sse=aes),
        "MinIO, aws:kms": bench.write_policy("minio-kms", minio, sse=kms),
        "MinIO, age and aws:kms": bench.write_policy("minio-both", minio, sse=kms, **age),
    }


def render(machine: Mapping[str, str], runs: Mapping[str, Sequence[Run]], *, database_bytes: int) -> str:
    """The report as Markdown."""
    lines = [
        f"Whole backups of a portal's database of {database_bytes / 1e9:.2f} GB (`pg_database_size`), in turns, with two recipients where age is used;",
        f"times are medians, in brackets every run. Aim: age costs at most {AIM - 1:.0%}. The servers' processors are the same.",
        "",
        *(f"- {name}: {fact}" for name, fact in machine.items()),
        "",
        "| backup to | time | throughput | against plain | peak memory of Resguardo and its children |",
        "|---|---|---|---|---|",
        *(_line(side, runs, database_bytes) for side in AGAINST),
    ]
    return "\n".join(lines) + "\n"


def _line(side: str, runs: Mapping[str, Sequence[Run]], database_bytes: int) -> str:
    seconds = [run.seconds for run in runs[side]]
    plain = AGAINST[side]
    ratio = f"{median(seconds) / median(run.seconds for run in runs[plain]):.2f}" if plain else "1"
    each = ", ".join(f"{value:.1f}" for value in seconds)
    speed = database_bytes / 1e6 / median(seconds)
    peak = max(run.peak_bytes for run in runs[side]) / 2**20
    return f"| {side} | {median(seconds):.1f} s ({each}) | {speed:.0f} MB/s | {ratio} | {peak:.0f} MiB |"


if __name__ == "__main__":
    sys.exit(main())
