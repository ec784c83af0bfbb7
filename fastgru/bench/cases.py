"""The one table of all measurements, which the command line, `bench/` and the tests read.

A case is one GRU, the shape of its input, and how it is called:

    step      one frame through a stream, which carries the state
    sequence  a whole (T, N, I) at once, from a state of zeros
    block     T frames through a stream in one call; the rivals get one call per frame
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any, Final, Protocol, TypeVar

from fastgru.bench.calls import WAYS
from fastgru.precisions import ASKED
from fastgru.records import dataclass

__all__ = ["KINDS", "RTNEURAL_NS", "SUITES", "Case", "find_cases"]

KINDS: Final = ("step", "sequence", "block")
_CALLED: Final = {
    "push": "a push without out=",
    "call": "model(x, h)",
    "run": "model.run by name",
    "layer": "a GRU layer",
}

# Nanoseconds per step of the fastest of RTNeural's back ends, by H: its authors' figures on a desktop CPU of 2018.
# Chowdhury, "RTNeural: Fast Neural Inferencing for Real-Time Systems", 2021.
RTNEURAL_NS: Final[Mapping[int, float]] = {8: 105, 16: 219, 32: 669, 64: 2400}


@dataclass(frozen=True)
class Case:
    """One measurement. x is (T, N, I); every layer has H units in each direction.

    precision: the precision of our computation. If it is below float32, the rivals run in float32 and in the lower
        precisions that they have, and ours also runs in float32, and for int8 in bfloat16.
    lengths: each row has a length of its own, drawn from 1 to T.
    way: how ours is called, one of `fastgru.bench.calls.WAYS`. A rival is called in its own fastest way.
    """

    kind: str
    T: int
    N: int
    I: int
    H: int
    layers: int = 1
    bidirectional: bool = False
    reset_after: bool = True
    lengths: bool = False
    precision: str = "float32"
    way: str = "bound"

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("precision", ASKED), ("way", WAYS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")
        is_plain = self.layers == 1 and not self.bidirectional and not self.lengths
        for is_wrong, what in (
            (
                self.way == "layer" and not self.reset_after,
                "way is 'layer', which is a GRU as torch has it: reset after",
            ),
            (self.kind != "sequence" and not is_plain, f"{self.kind}: one layer, one direction, no lengths"),
            (self.kind == "step" and self.T != 1, f"step: T is {self.T}, expected 1"),
        ):
            if is_wrong:
                raise ValueError(what)

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def slug(self) -> str:
        """A name for filters and test ids: "step-h64", "sequence-t50-n32-i1-h100-before"."""
        words = {
            self.kind: True,
            f"t{self.T}": self.kind != "step",
            f"n{self.N}": self.kind == "sequence" or self.N > 1,
            f"i{self.I}": self.I != self.H,
            f"h{self.H}": True,
            f"{self.layers}layers": self.layers > 1,
            "both": self.bidirectional,
            "before": not self.reset_after,
            "lengths": self.lengths,
            self.precision: self.precision != "float32",
            self.way: self.way != "bound",
        }
        return "-".join(word for word, is_said in words.items() if is_said)

    @property
    def title(self) -> str:
        """For people: "T=50 N=32 H=128, 3 layers, both directions"."""
        size = f"H={self.H}" if self.I == self.H else f"I={self.I} H={self.H}"
        head = {"step": "step", "sequence": f"T={self.T}", "block": f"block T={self.T}"}[self.kind]
        words = {
            f"{head} N={self.N} {size}": True,
            f"{self.layers} layers": self.layers > 1,
            "both directions": self.bidirectional,
            "reset before": not self.reset_after,
            f"lengths 1 to {self.T}": self.lengths,
            self.precision: self.precision != "float32",
            _CALLED.get(self.way, ""): self.way != "bound",
        }
        return ", ".join(word for word, is_said in words.items() if is_said)


def _step(H: int, I: int | None = None) -> Case:
    return Case("step", 1, 1, I or H, H)


def _sequence(T: int, N: int, H: int, *, I: int | None = None, **more: Any) -> Case:
    return Case("sequence", T, N, I or H, H, **more)


_STEPS = tuple(_step(H) for H in (8, 16, 32, 64, 128, 256, 512, 1024))
_LONG = tuple(_sequence(100, 1, H) for H in (64, 128, 256, 512, 1024))
_BATCHES = (
    *(_sequence(50, N, 256) for N in (1, 2, 4, 8, 16, 32, 64, 128)),
    *(_sequence(50, 32, H) for H in (64, 128, 512, 1024)),
    *(_sequence(50, 128, H) for H in (512, 1024)),
)
_FORMS = (
    _sequence(100, 1, 256, reset_after=False),
    _sequence(50, 32, 256, reset_after=False),
    _sequence(100, 32, 256, lengths=True),
    _sequence(50, 1, 128, layers=3, bidirectional=True),
    _sequence(50, 32, 128, layers=3, bidirectional=True),
)
_ODD = tuple(
    case
    for H, inputs in ((100, (1, 40, 257)), (200, (40, 257, 1)), (300, (257, 1, 40)), (650, (40, 1, 257)))
    for case in (_step(H, inputs[0]), *(_sequence(50, N, H, I=I) for N, I in zip((3, 5, 17), inputs, strict=True)))
)
_BLOCKS = tuple(Case("block", 1000, 1, H, H) for H in (8, 16, 32, 64))

# Calls as users make them, at sizes where the call costs more than its arithmetic.
_CALLS = tuple(Case("step", 1, 1, H, H, way=way) for H in (8, 16, 32, 64) for way in WAYS) + tuple(
    Case("sequence", 8, 1, H, H, way=way) for H in (8, 32) for way in ("bound", "call", "run", "layer")
)


_REDUCED = tuple(
    replace(case, precision=precision)
    for case in (
        *_STEPS[4:],
        *_LONG[2:],
        *(
            _sequence(50, N, H)
            for N, H in ((8, 256), (32, 128), (32, 256), (32, 512), (32, 1024), (128, 512), (128, 1024))
        ),
    )
    for precision in ("int8", "bfloat16")
)


class _HasSlug(Protocol):
    @property
    def slug(self) -> str: ...


Named = TypeVar("Named", bound=_HasSlug)

SUITES: Final[Mapping[str, tuple[Case, ...]]] = {
    "quick": (*_STEPS[1::2], _LONG[2], _sequence(50, 32, 256), _FORMS[0], _BLOCKS[1]),
    "full": (*_STEPS, *_LONG, *_BATCHES, *_FORMS, *_ODD, *_BLOCKS),
    "precision": _REDUCED,
    "calls": _CALLS,
}


def find_cases(cases: Iterable[Named], pattern: str | None) -> list[Named]:
    """Return the cases whose slug contains `pattern`, or matches its wildcards. None returns all cases."""
    if pattern is None:
        return list(cases)
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [case for case in cases if fnmatch(case.slug, wanted)]
