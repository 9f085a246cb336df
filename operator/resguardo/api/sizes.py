"""Sizes in bytes as people read and write them, in Kubernetes' notation."""

from __future__ import annotations

import re

#: A Kubernetes quantity of bytes, whole numbers only: 512Mi, 100Gi, 2T.
SIZE_PATTERN = r"^[1-9][0-9]{0,11}(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"

_SIZE = re.compile(SIZE_PATTERN)
_FACTORS = {"": 1}
_FACTORS.update({unit: 1000 ** (power + 1) for power, unit in enumerate(["k", "M", "G", "T", "P"])})
_FACTORS.update({unit: 1024 ** (power + 1) for power, unit in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi"])})


def parse_size(text: str) -> int:
    """The bytes of a written size; ValueError when it is none.

    >>> parse_size("100Gi") == 100 * 1024**3
    True
    """
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: write it as 512Mi, 100Gi or 2T")
    unit = match.group(1) or ""
    return int(text[: len(text) - len(unit)]) * _FACTORS[unit]


def print_size(size_bytes: int) -> str:
    """A size for people: one decimal below ten, none above.

    >>> print_size(327155712)
    '312MiB'
    >>> print_size(0)
    '0B'
    """
    size = float(size_bytes)
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"]:
        if size < 1023.5:
            return f"{size:.1f}{unit}" if unit != "B" and size < 9.95 else f"{size:.0f}{unit}"
        size /= 1024
    return f"{size:.1f}PiB"
