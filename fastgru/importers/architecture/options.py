"""Typed access to the values of a description; each value is checked when it is read."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.errors import InvalidModelError

__all__ = ["MOST", "REQUIRED", "LayerOptions", "as_mapping", "as_text", "show"]

REQUIRED: Final = object()
MOST: Final = 1 << 31  # limit for sizes, strides and positions

_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxother = 3, 8, 8, 80, 80


def show(value: Any) -> str:
    """Return `value` as messages show it, shortened."""
    return _SHORT.repr(value)


def as_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Return `value`; raise `InvalidModelError` unless it is a mapping with texts as keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidModelError(f"{what} is {show(value)}, expected names and values")
    return value


def as_text(value: Any, what: str) -> str:
    """Return `value`; raise `InvalidModelError` unless it is a text."""
    if not isinstance(value, str):
        raise InvalidModelError(f"{what} is {show(value)}, expected a text")
    return value


class LayerOptions:
    """The options of one layer. what: the beginning of every message. The getters raise `InvalidModelError`."""

    def __init__(self, given: Mapping[str, Any], what: str) -> None:
        self._given, self._what = given, what
        self._asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self._asked.add(name)
        return self._given.get(name) is not None

    def unasked(self) -> list[str]:
        """Return the names of the options that were given but never read."""
        return [name for name in self._given if name not in self._asked]

    def raw(self, name: str, default: Any = REQUIRED) -> Any:
        """Return the value unchecked; null counts as absent."""
        if name in self:
            return self._given[name]
        if default is REQUIRED:
            raise InvalidModelError(f"{self._what}: option {name} is missing")
        return default

    def wrong(self, name: str, expected: str) -> InvalidModelError:
        return InvalidModelError(f"{self._what}: {name} is {show(self._given[name])}, expected {expected}")

    def flag(self, name: str, default: bool) -> bool:
        value = self.raw(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str, default: Any = REQUIRED) -> float:
        """Return a finite number."""
        value = self.raw(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise self.wrong(name, "a finite number")
        return float(value)

    def integer(self, name: str, default: Any = REQUIRED, *, least: int | None = None) -> int:
        value = self.raw(name, default)
        if not _is_integer(value, least):
            raise self.wrong(name, f"an integer{_from(least)}")
        return int(value)

    def integers(self, name: str, default: Any = REQUIRED, *, least: int | None = None) -> list[int]:
        """Return one or more integers, from an integer or a list."""
        value = self.raw(name, default)
        values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if not values or len(values) > 64 or not all(_is_integer(v, least) for v in values):
            raise self.wrong(name, f"an integer or a list of integers{_from(least)}")
        return [int(v) for v in values]

    def each(self, name: str, count: int, default: Any = REQUIRED, *, least: int = 0) -> list[int]:
        """Return `count` integers, one per axis; a single integer counts for all axes."""
        values = self.integers(name, default, least=least)
        if len(values) not in (1, count):
            raise self.wrong(name, f"an integer, or {count}")
        return values * count if len(values) == 1 else values

    def choice(self, name: str, known: Sequence[str], default: Any = REQUIRED) -> str:
        value = self.raw(name, default)
        if value not in known:
            raise self.wrong(name, f"one of {', '.join(known)}")
        return str(value)

    def text(self, name: str, default: Any = REQUIRED) -> str:
        return as_text(self.raw(name, default), f"{self._what}: {name}")


def _is_integer(value: Any, least: int | None) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return -MOST <= int(value) <= MOST and (least is None or int(value) >= least)


def _from(least: int | None) -> str:
    return "" if least is None else f" of at least {least}"
