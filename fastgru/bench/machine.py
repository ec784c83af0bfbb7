"""Where and with what a measurement was made: the CPU, the system, the versions. No host name, no path."""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastgru
from fastgru.simd import cpu
from fastgru.terminal import version_of

__all__ = ["cpu_model", "describe"]


def cpu_model() -> str:
    """The name that the CPU gives itself, or the code generator's name for it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return str(cpu.describe()["cpu"])


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """Plain data; `packages` are named with their versions, None for those that are absent."""
    found = cpu.describe()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cpu_family": found["cpu"],
        "cores": found["cores"],
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "isa": found["isa"],
        "forced": found["forced"],
        "cache_bytes": found["cache_bytes"],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {
            "fastgru": fastgru.__version__,
            **{name: version_of(name) for name in ("numba", "llvmlite", "numpy", *packages)},
        },
    }
