"""The kinds of values that an attribute may have: names for the definitions' annotations, and the check of a value.

Values are JSON-plain and exact: neither a bool nor a whole float is an integer. A float is any number, also NaN or
infinity. `Bound` excludes NaN; `Finite` excludes NaN and infinity.
"""

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from fastgru.errors import FastGRUError, InvalidModelError, UnsupportedModelError
from fastgru.graph import DTYPES, MOST_SIZE
from fastgru.records import dataclass

__all__ = [
    "Axes", "Axis", "Bound", "Count", "Counts", "DType", "Finite", "Length", "Made", "OneOf", "Position", "Range",
    "Size", "Sizes", "check_attribute", "test_of",
]  # fmt: skip


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`."""

    least: float
    most: float

    def __call__(self, value: Any) -> bool:
        return bool(self.least <= value <= self.most)

    def __str__(self) -> str:
        return f"from {self.least} to {self.most}"


@dataclass(frozen=True)
class Length:
    """Lists of `count` entries."""

    count: int

    def __call__(self, value: Any) -> bool:
        return len(value) == self.count

    def __str__(self) -> str:
        return f"of {self.count} entries"


@dataclass(frozen=True)
class OneOf:
    """Texts from a list of names. Another text is unsupported, not invalid."""

    names: Collection[str]

    def __call__(self, value: Any) -> bool:
        if value not in self.names:
            raise UnsupportedModelError(
                f"{value!r:.80} is not implemented; expected one of {', '.join(sorted(self.names))}"
            )
        return True


@dataclass(frozen=True)
class Made:
    """Values that a function takes without raising an error of this package."""

    make: Callable[[Any], object]

    def __call__(self, value: Any) -> bool:
        try:
            self.make(value)
        except FastGRUError as error:
            raise InvalidModelError(str(error)) from None
        return True


_MOST_AXES: Final = 64  # NumPy's bound
_INT64: Final = Range(-(1 << 63), (1 << 63) - 1)

Axis = Annotated[int, Range(-_MOST_AXES, _MOST_AXES)]
Axes = Sequence[Axis]
Size = Annotated[int, Range(0, MOST_SIZE)]
Sizes = Sequence[Size]
Count = Annotated[int, Range(1, MOST_SIZE)]
Counts = Sequence[Count]
Position = Annotated[int, _INT64]
Bound = Annotated[float, Range(-math.inf, math.inf)]
Finite = Annotated[float, Range(-sys.float_info.max, sys.float_info.max)]
DType = Annotated[str, OneOf(DTYPES)]

_PLAIN: Final[Mapping[Any, str]] = {
    bool: "true or false", int: "an integer", float: "a number", str: "a text", NoneType: "nothing",
}  # fmt: skip


def check_attribute(name: str, kind: Any, test: Callable[[Any], bool], value: Any) -> None:
    """Raise unless `value` is of `kind`, an annotation. The error names the attribute, the value and the kind.

    test: `test_of(kind)`. Raises `UnsupportedModelError` for an unknown name, `InvalidModelError` for all other values.
    """
    try:
        if test(value):
            return
    except FastGRUError as error:
        raise type(error)(f"attribute {name}: {error}") from None
    raise InvalidModelError(f"attribute {name}: got {_shown(value)}, expected {_described(kind)}")


def test_of(kind: Any) -> Callable[[Any], bool]:
    """Return a function that tells whether a value is of `kind`, so that the annotation is read only once."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        plain, conditions = test_of(arguments[0]), arguments[1:]
        return lambda value: plain(value) and all(condition(value) for condition in conditions)
    if origin in (Union, UnionType):
        tests = [test_of(one) for one in sorted(arguments, key=lambda one: one is not NoneType)]
        return lambda value: any(test(value) for test in tests)
    if origin is Sequence:
        entry = test_of(arguments[0])
        return lambda value: isinstance(value, list | tuple) and all(map(entry, value))
    if origin is Mapping:
        return lambda value: isinstance(value, Mapping)
    if kind is float:
        return lambda value: type(value) is float or (type(value) is int and _INT64(value))
    return lambda value: type(value) is kind


def _described(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return " ".join((_described(arguments[0]), *(str(c) for c in arguments[1:] if isinstance(c, Range | Length))))
    if origin in (Union, UnionType):
        return " or ".join(map(_described, arguments))
    if origin is Sequence:
        return f"a list, each entry {_described(arguments[0])}"
    return _PLAIN.get(kind, "an object")


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # an integer of more digits than Python writes
        return "an integer of thousands of digits"
