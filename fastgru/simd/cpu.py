"""The CPU at hand: which instruction set the kernels are built for, and how large its caches are.

`FASTGRU_ISA=avx512|avx2|generic` forces a lower one down, so that one machine tests every path. The choice is
made once, before Numba builds its code generator, and is then fixed for the life of the process.
"""

import functools
import glob
import os
import platform
import re
import sys
from typing import Any, Final

import llvmlite.binding as llvm

from fastgru.errors import FastGRUError

__all__ = [
    "HAS_DOT_BFLOAT16", "HAS_DOT_INT8", "HAS_FMA", "ISA", "ISAS", "LANES", "REGISTERS", "VECTOR_BYTES", "cache_sizes",
    "describe", "host_isa", "is_x86", "target_cpu",
]  # fmt: skip

# Vector bytes of each. "generic" is 128 bits: SSE on x86-64, NEON on Arm.
ISAS: Final = {"avx512": 64, "avx2": 32, "generic": 16}

# What a forced-down build may use; LLVM names, as Numba's NUMBA_CPU_NAME and NUMBA_CPU_FEATURES take them.
_FORCED_CPU: Final = {
    "avx2": ("x86-64-v3", "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt"),
    "generic": ("x86-64-v2", "+cx16,+popcnt,+sse3,+sse4.1,+sse4.2,+ssse3"),
}


@functools.cache
def _host_features() -> dict[str, bool]:
    """What the CPU has, as far as NUMBA_CPU_FEATURES, where it is set, lets the compiler use it.

    LLVM does not compile an instruction that it may not use: it ends the process.
    """
    features = dict(llvm.get_host_cpu_features())
    allowed = os.environ.get("NUMBA_CPU_FEATURES")
    if allowed is None:
        return features
    names = {feature[1:] for feature in allowed.split(",") if feature.startswith("+")}
    return {name: on and name in names for name, on in features.items()}


def host_isa() -> str:
    """The widest instruction set this CPU and its operating system run."""
    features = _host_features()
    if all(features.get(f, False) for f in ("avx512f", "avx512vl", "avx512bw", "avx512dq")):
        return "avx512"
    if features.get("avx2", False) and features.get("fma", False):
        return "avx2"
    return "generic"


def is_x86() -> bool:
    """True on Intel's and AMD's 64-bit instruction set."""
    return platform.machine().lower() in ("x86_64", "amd64")


def _choose() -> str:
    host = host_isa()
    forced = os.environ.get("FASTGRU_ISA", "").strip().lower()
    if not forced:
        return host
    if forced not in ISAS:
        raise FastGRUError(f"FASTGRU_ISA is {forced!r}, expected one of {', '.join(ISAS)}")
    if ISAS[forced] > ISAS[host]:
        raise FastGRUError(f"FASTGRU_ISA is {forced!r}, which this CPU does not run: its widest is {host!r}")
    if is_x86() and forced in _FORCED_CPU:
        _force_numba(*_FORCED_CPU[forced])
    return forced


def _dot_int8() -> bool:
    features = _host_features()
    if ISA == "avx512":
        return features.get("avx512vnni", False)
    return ISA == "avx2" == host_isa() and features.get("avxvnni", False)


def _force_numba(name: str, features: str) -> None:
    """Make Numba build for another CPU. It reads its settings when it is imported, which must come after this."""
    settings = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    if "numba" in sys.modules:
        config = sys.modules["numba"].config
        if name != config.CPU_NAME:
            raise FastGRUError(
                "FASTGRU_ISA is set, but numba was imported first and builds for another CPU:"
                f" import fastgru before numba, or set {' '.join(f'{k}={v}' for k, v in settings.items())} as well"
            )
        return
    # They stay set: Numba reads the environment again whenever it has changed, and child processes inherit FASTGRU_ISA.
    os.environ.update(settings)


ISA: Final = _choose()
VECTOR_BYTES: Final = ISAS[ISA]
# What the kernels' tiles have to do with: vector registers, and whether a multiply-add is one instruction. Without it
# `fma` is a multiplication and an addition, each rounded: a call of the C library would cost fifty times as much.
REGISTERS: Final = 32 if ISA == "avx512" or not is_x86() else 16
HAS_FMA: Final = ISA != "generic" or not is_x86()
# Products of pairs of bfloat16, and of groups of four bytes, in one instruction each.
HAS_DOT_BFLOAT16: Final = ISA == "avx512" and _host_features().get("avx512bf16", False)
HAS_DOT_INT8: Final = _dot_int8()
LANES: Final = {"float32": VECTOR_BYTES // 4, "float64": VECTOR_BYTES // 8}


@functools.cache
def target_cpu() -> tuple[str, str]:
    """LLVM's name of the CPU that kernels are built for, and its features."""
    name, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = ",".join(f"{'+' if on else '-'}{feature}" for feature, on in sorted(_host_features().items()))
    return name or llvm.get_host_cpu_name(), features


@functools.cache
def cache_sizes() -> dict[str, int]:
    """Bytes of L1 data, L2 and L3 as the operating system reports them; typical sizes where it does not."""
    sizes = {"l1d": 32 << 10, "l2": 1 << 20, "l3": 8 << 20}
    for folder in glob.glob("/sys/devices/system/cpu/cpu0/cache/index*"):
        try:
            level, kind, size = (_read(f"{folder}/{name}") for name in ("level", "type", "size"))
        except OSError:
            continue
        match = re.fullmatch(r"(\d+)([KMG]?)", size)
        if match and kind != "Instruction":
            scale = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[match[2]]
            sizes["l1d" if level == "1" else f"l{level}"] = int(match[1]) * scale
    return sizes


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def describe() -> dict[str, Any]:
    """What `fastgru doctor` prints of the CPU."""
    wanted = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512vnni", "avx512bf16", "avxvnni", "amx-tile")
    return {
        "machine": platform.machine(),
        "cpu": llvm.get_host_cpu_name(),
        "cores": os.cpu_count() or 1,
        "isa": ISA,
        "host_isa": host_isa(),
        "forced": os.environ.get("FASTGRU_ISA") or None,
        "vector_bytes": VECTOR_BYTES,
        "lanes": dict(LANES),
        "features": [f for f in wanted if _host_features().get(f, False)],
        "cache_bytes": cache_sizes(),
    }
