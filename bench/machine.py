"""The machine that a result is from: without it, a time says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from resguardo.postgres.dump import tool_versions


def facts() -> dict[str, str]:
    """Processor, memory, system and versions, for people."""
    zstd = subprocess.run(["zstd", "--version"], capture_output=True, text=True, check=True, timeout=10).stdout.strip(
        " *\n"
    )
    return {
        "processors": f"{os.cpu_count()} x {_first('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 1024**2:.0f} GiB",
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "versions": f"PostgreSQL {tool_versions()['pg_dump']}, Python {platform.python_version()}, {zstd}",
        "load when it began": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def _first(path: str, key: str) -> str:
    lines = (line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line)
    return next((value.strip() for name, value in lines if name.strip() == key), "unknown")
