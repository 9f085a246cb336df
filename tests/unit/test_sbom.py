"""The image's bill of materials names all that is in it, and fits CycloneDX's own schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cyclonedx.validation.json import JsonStrictValidator

from tests.rig.sbom import VERSION, describe

LOCK = Path(__file__).parents[2] / "requirements.lock"
STATUS = """Package: libpq5
Status: install ok installed
Source: postgresql-15
Version: 15.14-0+deb12u1
Architecture: amd64
Description: a library
 with more lines

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64

Package: tzdata
Status: install ok installed
Version: 2026a-1
Architecture: all
"""


def test_every_package_of_the_lock_file_and_of_debian_is_in_it() -> None:
    text = describe("localhost/resguardo", "0.1.0", lock=LOCK.read_text(), status=STATUS)
    assert JsonStrictValidator(VERSION).validate_str(text) is None
    found = {part["purl"]: part for part in json.loads(text)["components"]}
    pinned = re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert len(pinned) > 20
    debian = {"pkg:deb/debian/libpq5@15.14-0%2Bdeb12u1?arch=amd64", "pkg:deb/debian/tzdata@2026a-1?arch=all"}
    assert found.keys() == debian | {f"pkg:pypi/{name.lower().replace('_', '-')}@{version}" for name, version in pinned}
    hashes = {digest["content"] for part in found.values() for digest in part.get("hashes", [])}
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", LOCK.read_text()))


def test_the_same_image_has_the_same_number() -> None:
    first, again, other = (
        json.loads(describe("i", "1", lock=LOCK.read_text(), status=status))["serialNumber"]
        for status in (STATUS, STATUS, STATUS.replace("15.14", "15.15"))
    )
    assert first == again != other


def test_a_package_without_hashes_is_refused() -> None:
    with pytest.raises(ValueError, match="hashes"):
        describe("i", "1", lock="boto3==1.0\n", status=STATUS)
