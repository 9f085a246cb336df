"""`python -m tests.demo`: tell the story, and end with 0 only when both restored databases equal the lost one."""

from __future__ import annotations

import argparse
import os
import sys

import psycopg

from tests.demo.bucket import BucketError
from tests.demo.kubernetes import ClusterError
from tests.demo.portal import NotOurs
from tests.demo.story import NotEqual, Story
from tests.demo.surroundings import WRITTEN, Missing, surroundings
from tests.demo.telling import Teller


def main() -> int:
    """The exit status: 0 when all is equal, 1 when anything differs or fails, 2 when it cannot begin."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300, help="about how large the database is (default: 300)")
    parser.add_argument(
        "--cluster",
        choices=["rig", "current"],
        default=os.environ.get("CLUSTER", "rig"),
        help="rig: the cluster of `make cluster`. current: the current context's, if marked; see docs/testing.md",
    )
    arguments = parser.parse_args()
    teller = Teller()
    try:
        place = surroundings(arguments.cluster)
    except Missing as missing:
        teller.fail(str(missing))
        return 2
    try:
        Story(place, teller, arguments.megabytes, WRITTEN[arguments.cluster]).tell()
    except (BucketError, ClusterError, NotEqual, NotOurs, psycopg.Error) as error:
        word = "" if not isinstance(error, psycopg.Error) else f"{type(error).__name__}: "
        teller.fail(f"\nThe demo failed: {word}{error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
