"""Targets that code is built for: an operating system, an architecture, and a level of the architecture.

The levels of x86-64 are those of its psABI (v2, v3, v4), some with further instructions; those of aarch64 are ARMv8.0
and later extensions. `TARGET` is the target of this process: the best level that the CPU has, found by its features,
because some virtual machines give the CPU a wrong name. `FASTGRU_TARGET` names another, such as "v3", "v4+vnni" or
"linux-aarch64+dotprod". A lower level lets one machine test every path; a process that only builds can name any.
`FASTGRU_TUNE=native` compiles code for exactly this CPU, with the constants of the level.
"""

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from fastgru.errors import FastGRUError
from fastgru.simd.cpu import host_features
from fastgru.simd.permission import why_no_tiles

__all__ = [
    "AMX", "DOT_BFLOAT16", "DOT_INT8", "FEATURES", "HAS_FMA", "IS_X86", "LANES", "REGISTERS", "TARGET", "TARGETS",
    "TUNED", "VECTOR_BYTES", "Target", "best", "describe", "parse", "runnable", "why_not_runnable",
]  # fmt: skip

# The levels of each architecture, from the lowest up, with the features that each has beyond its base.
_LEVELS: Final[Mapping[str, Mapping[str, str]]] = {
    "x86-64": {
        "v2": "",
        "v3": "",
        "v3+vnni": "vnni",
        "v4": "",
        "v4+amx-emulated": "amx-emulated",
        "v4+vnni": "vnni",
        "v4+vnni+bf16": "vnni bf16",
        "v4+amx": "vnni bf16 amx",
    },
    "aarch64": {"": "", "dotprod": "dotprod", "i8mm+bf16": "dotprod i8mm bf16"},
}

# The features beyond the base that a recipe may name as used by its code (`Target.has`).
FEATURES: Final = ("vnni", "bf16", "amx", "dotprod", "i8mm")

# What a CPU must have, by LLVM's names, for a base (in addition to the bases before it), and for a feature.
_BASES: Final = {
    "v2": "cx16 popcnt sse3 sse4.1 sse4.2 ssse3",
    "v3": "avx avx2 bmi bmi2 f16c fma lzcnt movbe",
    "v4": "avx512bw avx512cd avx512dq avx512f avx512vl",
}
_NEEDED: Final = {
    "v3+vnni": "avxvnni",
    "v4+vnni": "avx512vnni",
    "v4+bf16": "avx512bf16",
    "v4+amx": "amx-bf16 amx-int8 amx-tile",
    "+dotprod": "dotprod",
    "+i8mm": "i8mm",
    "+bf16": "bf16",
}

_VECTOR_BYTES: Final = {"v2": 16, "v3": 32, "v4": 64, "": 16}
_TRIPLES: Final = {"linux": "unknown-linux-gnu", "macos": "apple-macosx11.0.0", "windows": "pc-windows-msvc"}
_MACHINES: Final = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "aarch64", "arm64": "aarch64"}
_SYSTEMS: Final = {"linux": "linux", "darwin": "macos", "win32": "windows"}


class Target(NamedTuple):
    """A target. system: linux, macos or windows. architecture: x86-64 or aarch64. level: "v4+vnni"; "" for ARMv8.0."""

    system: str
    architecture: str
    level: str

    @property
    def short(self) -> str:
        """The name without the system, such as x86-64-v4+vnni or aarch64+dotprod."""
        return self.architecture + ("-" if self.is_x86 else "+" * bool(self.level)) + self.level

    @property
    def name(self) -> str:
        """The whole name, such as linux-x86-64-v4+vnni."""
        return f"{self.system}-{self.short}"

    @property
    def is_x86(self) -> bool:
        return self.architecture == "x86-64"

    @property
    def base(self) -> str:
        """The level without its features: v2, v3, v4, or "" for aarch64."""
        return self.level.partition("+")[0] if self.is_x86 else ""

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the level has beyond its base."""
        return tuple(_LEVELS[self.architecture][self.level].split())

    @property
    def emulated(self) -> bool:
        """Whether vectors emulate AMX's operations on tiles."""
        return self.has("amx") == "emulated"

    def has(self, feature: str) -> str:
        """Return how the target has one of `FEATURES`: "native", "emulated", or "" if it does not have it."""
        if feature in self.features:
            return "native"
        return "emulated" if f"{feature}-emulated" in self.features else ""

    def agrees(self, other: "Target", uses: Iterable[str]) -> bool:
        """Return whether code that uses these of `FEATURES`, beyond the base, is the same for both targets."""
        return all(self.has(feature) == other.has(feature) for feature in uses)

    @property
    def levels(self) -> tuple["Target", ...]:
        """The levels of the same base whose code it runs, from the lowest to itself."""
        same = [target for target in TARGETS if target[:2] == self[:2] and target.base == self.base]
        return tuple(target for target in same if set(target.features) <= set(self.features))

    def home(self, uses: Iterable[str]) -> "Target":
        """Return the level for which code that uses these of `FEATURES` is built: the lowest that agrees."""
        return next(target for target in self.levels if self.agrees(target, tuple(uses)))

    @property
    def needs(self) -> tuple[str, ...]:
        """The features that a CPU must have to run it, by LLVM's names."""
        bases = list(_BASES)[: list(_BASES).index(self.base) + 1] if self.is_x86 else []
        return tuple(" ".join(_BASES[base] for base in bases).split()) + self._beyond

    @property
    def _beyond(self) -> tuple[str, ...]:
        return tuple(" ".join(_NEEDED.get(f"{self.base}+{feature}", "") for feature in self.features).split())

    @property
    def triple(self) -> str:
        """LLVM's name of the system and the architecture."""
        machine = "x86_64" if self.is_x86 else "arm64" if self.system == "macos" else "aarch64"
        return f"{machine}-{_TRIPLES[self.system]}"

    @property
    def llvm_cpu(self) -> tuple[str, str]:
        """LLVM's name of a CPU of the level, and the features beyond it.

        LLVM prefers two vectors of 256 bits to one of 512 unless `-prefer-256-bit` is given.
        """
        features = ",".join(f"+{name}" for name in self._beyond)
        if not self.is_x86:
            return "generic", features
        return f"x86-64-{self.base}", ",".join(filter(None, ("-prefer-256-bit", features)))


TARGETS: Final = tuple(
    Target(system, architecture, level)
    for system in _TRIPLES
    for architecture, levels in _LEVELS.items()
    for level in levels
)


def _this_machine() -> tuple[str, str]:
    system, architecture = _SYSTEMS.get(sys.platform), _MACHINES.get(platform.machine().lower())
    if system is None or architecture is None:
        raise FastGRUError(
            f"fastgru has no kernels for {sys.platform} on {platform.machine()}: expected Linux, macOS or Windows on"
            " x86-64 or aarch64"
        )
    return system, architecture


def parse(name: str, what: str = "target") -> Target:
    """Return the target of a name: a whole name, one without the system, or a level of this machine's architecture.

    what: the name of the setting, for the message. Raises `FastGRUError`, which lists all targets, for an unknown name.
    """
    system, architecture = _this_machine()
    given = name.strip().lower()
    for target in TARGETS:
        here = target.system == system
        if given == target.name or (here and given == target.short):
            return target
        if given and here and target.architecture == architecture and given == target.level:
            return target
    levels = [target for target in TARGETS if target.system == system]
    own = ", ".join(target.level or target.short for target in levels if target.architecture == architecture)
    all_of_them = ", ".join(target.short for target in levels)
    raise FastGRUError(
        f"{what} is {name!r}, expected one of {own}, or, for another machine, linux-, macos- or windows- and one of"
        f" {all_of_them}"
    )


def why_not_runnable(target: Target) -> str:
    """Say why this machine does not run a target; "" if it does."""
    system, architecture = _this_machine()
    if (target.system, target.architecture) != (system, architecture):
        return f"this machine is {system}-{architecture}"
    missing = [name for name in target.needs if not host_features().get(name, False)]
    if missing:
        return f"this CPU has no {', '.join(missing)}"
    return why_no_tiles() if target.has("amx") == "native" else ""


def runnable() -> list[Target]:
    """Return the targets that this machine runs, the lowest first."""
    return [target for target in TARGETS if not why_not_runnable(target)]


def best() -> Target:
    """Return the highest level, without emulation, that this CPU has. Raises `FastGRUError` if it has none."""
    found = [target for target in runnable() if not target.emulated]
    lowest = Target(*_this_machine(), "v2")
    if not found and TUNED:
        return lowest
    if not found:
        raise FastGRUError(
            f"{why_not_runnable(lowest)}, which {lowest.short} needs, the lowest level with kernels:"
            " FASTGRU_TUNE=native compiles them for this CPU as it is"
        )
    return found[-1]


def _tuned() -> bool:
    given = os.environ.get("FASTGRU_TUNE", "").strip().lower()
    if given not in ("", "native"):
        raise FastGRUError(f"FASTGRU_TUNE is {given!r}, expected native, or nothing for the code of the level")
    return given == "native"


def _chosen() -> Target:
    forced = os.environ.get("FASTGRU_TARGET", "").strip()
    target = parse(forced, "FASTGRU_TARGET") if forced else best()
    if TUNED and (target.system, target.architecture) != _this_machine():
        raise FastGRUError(f"FASTGRU_TUNE=native is for this CPU, and FASTGRU_TARGET={forced} for another machine")
    return target


TUNED: Final = _tuned()
TARGET: Final = _chosen()
IS_X86: Final = TARGET.is_x86
VECTOR_BYTES: Final = _VECTOR_BYTES[TARGET.base]
LANES: Final = {"float32": VECTOR_BYTES // 4, "float64": VECTOR_BYTES // 8}
# The vector registers that tiles can use, and whether a multiply-add is one instruction. If it is not, `fma` is a
# multiplication and an addition, each rounded: calling the C library would take fifty times as long.
REGISTERS: Final = 32 if TARGET.base == "v4" or not IS_X86 else 16
HAS_FMA: Final = TARGET.base != "v2"
# The kind of instruction that multiplies and adds groups of bytes, pairs of bfloat16, and tiles of them; "" for none.
DOT_INT8: Final = {"vnni": "vnni", "dotprod": "sdot"}.get(next(iter(TARGET.features), ""), "")
DOT_BFLOAT16: Final = ("avx512" if IS_X86 else "neon") if TARGET.has("bf16") else ""
AMX: Final = {"native": "tiles", "emulated": "emulated", "": ""}[TARGET.has("amx")]


def describe() -> dict[str, Any]:
    """Return what `fastgru doctor` prints about the target. "missing": why each higher level does not run here."""
    above = [target for target in TARGETS if target[:2] == TARGET[:2] and not target.emulated]
    higher = above[above.index(TARGET) + 1 :] if TARGET in above else []
    return {
        "name": TARGET.name,
        "level": TARGET.level or TARGET.short,
        "forced": os.environ.get("FASTGRU_TARGET") or None,
        "best": best().name,
        "tuned": TUNED,
        "vector_bytes": VECTOR_BYTES,
        "lanes": dict(LANES),
        "missing": {target.name: why for target in higher if (why := why_not_runnable(target))},
    }
