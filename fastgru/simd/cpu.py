"""The CPU of this machine: its features, its name and its cache sizes. `simd.target` says what code is built for."""

import ctypes
import functools
import os
import platform
import sys
from typing import Any, Final

from fastgru.simd.llvm import host_cpu_features, host_cpu_name

__all__ = ["cache_sizes", "describe", "host_cpu", "host_features"]

# Bits of AT_HWCAP and AT_HWCAP2 of Linux on aarch64, as (type, bit).
_HWCAPS: Final = {"dotprod": (16, 20), "i8mm": (26, 13), "bf16": (26, 14)}
_SYSCTLS: Final = {"dotprod": "FEAT_DotProd", "i8mm": "FEAT_I8MM", "bf16": "FEAT_BF16"}


@functools.cache
def host_features() -> dict[str, bool]:
    """Return the features of the CPU that the operating system lets programs use, by LLVM's names."""
    features = host_cpu_features()
    if platform.machine().lower() in ("aarch64", "arm64"):
        features |= _arm_features()
    return features


def _arm_features() -> dict[str, bool]:
    """Return features that LLVM does not report for every Arm CPU, from the operating system."""
    if sys.platform not in ("linux", "darwin"):
        return {}
    library = ctypes.CDLL(None)
    if sys.platform == "linux":
        library.getauxval.argtypes, library.getauxval.restype = (ctypes.c_ulong,), ctypes.c_ulong
        return {name: bool(library.getauxval(kind) >> bit & 1) for name, (kind, bit) in _HWCAPS.items()}
    found = {}
    for name, key in _SYSCTLS.items():
        value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
        library.sysctlbyname(f"hw.optional.arm.{key}".encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
        found[name] = bool(value.value)
    return found


@functools.cache
def host_cpu() -> tuple[str, str]:
    """Return LLVM's name of this CPU, and its features as LLVM writes them."""
    features = ",".join(f"{'+' if on else '-'}{feature}" for feature, on in sorted(host_features().items()))
    return host_cpu_name(), features


@functools.cache
def cache_sizes() -> dict[str, int]:
    """Return the bytes of L1 data, L2 and L3 that the operating system reports; typical sizes if it reports none."""
    sizes = {"l1d": 32 << 10, "l2": 1 << 20, "l3": 8 << 20}
    for i in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{i}"
        try:
            level, kind, size = (_read(f"{folder}/{name}") for name in ("level", "type", "size"))
        except OSError:
            continue
        scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:])
        number = size if scale is None else size[:-1]
        if number.isdecimal() and kind != "Instruction":
            sizes["l1d" if level == "1" else f"l{level}"] = int(number) * (scale or 1)
    return sizes


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def describe() -> dict[str, Any]:
    """Return what `fastgru doctor` prints about the CPU."""
    wanted = "sse4.2 avx avx2 fma avx512f avx512vl avx512vnni avx512bf16 avxvnni amx-tile neon dotprod i8mm bf16"
    return {
        "machine": platform.machine(),
        "cpu": host_cpu()[0],
        "cores": os.cpu_count() or 1,
        "features": [f for f in wanted.split() if host_features().get(f, False)],
        "cache_bytes": cache_sizes(),
    }
