"""Describes where a measurement was made: the CPU, the system, the versions. No host name, no path."""

import os
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastgru
from fastgru.simd import cpu, target
from fastgru.terminal import version_of

__all__ = ["cpu_model", "describe"]


def cpu_model() -> str:
    """Return the CPU's own name, or the code generator's name for it."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    named = re.search(r"^model name\s*:\s*(.*\S)", text, re.MULTILINE)
    return str(cpu.describe()["cpu"]) if named is None else named[1]


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """Return plain data. packages: the names of packages whose versions to include; None for absent ones."""
    found = cpu.describe()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cpu_family": found["cpu"],
        "cores": found["cores"],
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "target": target.TARGET.short,
        "forced": os.environ.get("FASTGRU_TARGET") or None,
        "tuned": target.TUNED,
        "cache_bytes": found["cache_bytes"],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {
            "fastgru": fastgru.__version__,
            **{name: version_of(name) for name in ("numba", "llvmlite", "numpy", *packages)},
        },
    }
