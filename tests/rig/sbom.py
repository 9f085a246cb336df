"""What the image is made of, as a CycloneDX document on standard output.

Usage: sbom.py IMAGE VERSION LOCK <the image's /var/lib/dpkg/status. LOCK is the file of Python packages that the image is made from, with the
hashes of all files that pip would have taken for each.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

VERSION = SchemaVersion.V1_6
_PINNED = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ \\]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE
)


def python_packages(lock: str) -> Iterator[Component]:
    """Each package of a lock file with its hashes. Raises ValueError where one has none."""
    found = list(_PINNED.finditer(lock))
    if len(found) != len(re.findall(r"^[A-Za-z0-9]", lock, re.MULTILINE)):
        raise ValueError("the lock file has lines that are no package with a version and hashes")
    for name, version, hashes in (match.groups() for match in found):
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=PackageURL("pypi", name=name, version=version),
            bom_ref=f"pypi/{name}",
            hashes=[
                HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in re.findall("[0-9a-f]{64}", hashes)
            ],
        )


def debian_packages(status: str) -> Iterator[Component]:
    """Each installed package of a dpkg status file (dpkg(1), deb-control(5))."""
    for paragraph in re.split(r"\n{2,}", status.strip()):
        fields = HeaderParser().parsestr(paragraph)
        if fields["Status"] != "install ok installed":
            continue
        name, version, architecture = (str(fields[field]) for field in ("Package", "Version", "Architecture"))
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=PackageURL("deb", "debian", name, version, {"arch": architecture}),
            bom_ref=f"deb/{name}/{architecture}",
        )


def describe(image: str, version: str, *, lock: str, status: str) -> str:
    """The document, which fits CycloneDX's own schema; the same image gives the same serial number."""
    whole = Component(type=ComponentType.CONTAINER, name=image, version=version, bom_ref="image")
    parts = [*python_packages(lock), *debian_packages(status)]
    bom = Bom(components=parts, serial_number=uuid5(NAMESPACE_URL, f"{image}\n{version}\n{lock}\n{status}"))
    bom.metadata.component = whole
    bom.register_dependency(whole, parts)
    text = make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=2)
    if problem := JsonStrictValidator(VERSION).validate_str(text):
        raise ValueError(f"this would be no CycloneDX document: {problem}")
    return text


if __name__ == "__main__":
    image, version, lock = sys.argv[1:]
    print(describe(image, version, lock=Path(lock).read_text(), status=sys.stdin.read()))
