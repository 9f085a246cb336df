"""Run the comparisons and print them; `--write` also puts them into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import structlog

from bench.document import write_section
from bench.machine import facts
from bench.measure import Run
from bench.report import Comparison, render
from bench.servers import servers
from bench.sides import Bench, missing_tools
from bench.turns import in_turns, told


def main() -> int:
    """The exit status: 0 when everything ran; the aims are for people to look at."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2048, help="about how large the database is (default: 2048)")
    parser.add_argument("--rounds", type=int, default=2, help="backups of each side (default: 2)")
    parser.add_argument("--restores", type=int, default=1, help="restores of each side (default: 1)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    if missing := missing_tools():
        print(f"bench: not here: {', '.join(missing)} (Debian packages of the same names)", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    began = facts()
    with tempfile.TemporaryDirectory(prefix="resguardo-bench-") as folder, servers(Path(folder)) as (postgres, s3):
        bench = Bench(postgres, s3, Path(folder))
        with told(f"filling a database of about {arguments.megabytes} MB"):
            size = bench.prepare(arguments.megabytes)
        backups, raw_backups, uploaded, restic = _in_turns(
            arguments.rounds, bench.resguardo_backup, bench.raw_backup, bench.uploaded_backup, bench.restic_backup
        )
        (crontab,) = _in_turns(1, bench.crontab_backup)
        with told("file_backup, for the raw restore"):
            bench.file_backup()
        restores, raw_restores = _in_turns(arguments.restores, bench.resguardo_restore, bench.raw_restore)
        report = render(
            began,
            database_bytes=size,
            stored_bytes=bench.stored_bytes,
            comparisons=[
                Comparison("backup", "`pg_dump -Fc -Z0 \\| zstd -T0 >/dev/null`", backups, raw_backups, aim=1.10),
                Comparison(
                    "backup", "the same pipe into the same bucket (boto3, no checks)", backups, uploaded, aim=1.10
                ),
                Comparison(
                    "backup", "`pg_dump -Fc -Z0 \\| restic backup --stdin`, same bucket", backups, restic, aim=1.0
                ),
                Comparison("backup", "crontab: `pg_dump \\| gzip`, then `aws s3 cp`", backups, crontab, aim=1 / 3),
                Comparison("restore", "`zstd -d \\| pg_restore` from a local file", restores, raw_restores, aim=1.10),
                Comparison(
                    "restore",
                    "the same and `ANALYZE`, as Resguardo does",
                    restores,
                    bench.raw_restores_analyzed,
                    aim=1.10,
                ),
            ],
        )
    print(report)
    if arguments.write:
        write_section("data", report)
    return 0


def _in_turns(rounds: int, *sides: Callable[[], Run]) -> list[list[Run]]:
    return list(in_turns(rounds, {side.__name__: side for side in sides}).values())


if __name__ == "__main__":
    sys.exit(main())
