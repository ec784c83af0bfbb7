"""The declaration of an instruction: its tensors and words by name, in one place for writers and readers.

    TOPK = Operands("x y positions", "outer n inner k smallest")
    AT = TOPK.at                                    # in the kernel: operands[AT.k], tensor(bases, operands, AT.x)
    TOPK.encode({"x": x, "y": y, ..., "k": 3})      # in the lowering, through `PlanBuilder.emit`

A tensor takes two words (index into `bases`, byte offset), and all tensors come before the words. A name can stand for
several tensors or words, whose number is declared. Any number of words may follow the named ones.
"""

import functools
from collections.abc import Iterable, Mapping
from itertools import accumulate
from operator import itemgetter
from typing import Any

__all__ = ["Operands", "Words", "codes", "places"]


class _Named(tuple[int, ...]):
    """A named tuple with as much as Numba and this package need.

    There are over a hundred of them, and `collections.namedtuple` would compile a function for each.
    """

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def _asdict(self) -> dict[str, int]:
        return dict(zip(self._fields, self, strict=True))


@functools.cache
def _item(i: int) -> property:
    return property(itemgetter(i))


def _named(kind: str, names: list[str], values: Iterable[int]) -> Any:
    own = {name: _item(i) for i, name in enumerate(names)}
    if len(own) < len(names):
        raise TypeError(f"a name comes twice in {' '.join(names)}")
    return type(kind, (_Named,), {"__slots__": (), "_fields": tuple(names), **own})(values)


def codes(names: str, first: int = 0) -> Any:
    """Return the numbers that stand for `names` in instruction words, as a named tuple like that of `places`."""
    each = names.split()
    return _named("Codes", each, range(first, first + len(each)))


def places(names: str, *, first: int = 0, **widths: int) -> Any:
    """Return the places of `names` in an array of words, in order, as a named tuple that Numba reads as constants.

    first: the place of the first name. widths: the number of words of a name, if that is not one. The last field,
    `words`, is the place after the last name: the number of words if `first` is 0.
    """
    each = names.split()
    if unknown := {*widths} - {*each}:
        raise TypeError(f"widths of {', '.join(sorted(unknown))}, which {names!r} does not name")
    return _named("Places", [*each, "words"], accumulate((widths.get(name, 1) for name in each), initial=first))


class Words:
    """A record of words, by name. at: the place of each.

    counts: the number of words of a name, if that is not one; such a name takes a sequence of words.
    rest: the name of the last words, which may be any number.
    """

    def __init__(self, names: str, *, rest: str = "", **counts: int) -> None:
        widths = {**counts, rest: 0} if rest else counts
        self.at = places(f"{names} {rest}", **widths)
        self._counts = {name: widths.get(name) for name in self.at._fields[:-1]}
        self._rest = rest

    @property
    def zeros(self) -> dict[str, int]:
        """A record of zeros, for an instruction that does not use it."""
        return dict.fromkeys(self._counts, 0)

    def encode(self, given: Mapping[str, Any]) -> list[Any]:
        """Return the words in order. Raises `TypeError` for a missing or undeclared name, or a wrong number."""
        _check(given, self._counts)
        return self.flat(given)

    def flat(self, given: Mapping[str, Any]) -> list[Any]:
        """Return the words in order from a mapping that has every name, and may have others."""
        return [word for name in self._counts for word in self._each(name, given[name])]

    def put(self, words: list[Any], name: str, value: Any) -> None:
        """Change the value of a name in words that `encode` returned."""
        at, new = getattr(self.at, name), self._each(name, value)
        words[at : at + len(new)] = new

    def _each(self, name: str, value: Any) -> list[Any]:
        count = self._counts[name]
        words = [value] if count is None else list(value)
        if name != self._rest and len(words) != (1 if count is None else count):
            raise TypeError(f"operand {name}: got {len(words)} words, expected {count}")
        return words


class Operands:
    """The operands of an instruction, by name. at: the place of each among the words that a kernel is given.

    counts: as for `Words`, for tensors as well.
    """

    def __init__(self, tensors: str, words: str = "", *, rest: str = "", **counts: int) -> None:
        several = {name: count for name, count in counts.items() if name in tensors.split()}
        counts = {name: count for name, count in counts.items() if name not in several}
        self.tensors, self.words = Words(tensors, rest="", **several), Words(words, rest=rest, **counts)
        widths = {name: 2 * several.get(name, 1) for name in tensors.split()}
        self.at = places(f"{tensors} {words} {rest}", **widths, **counts, **({rest: 0} if rest else {}))

    def encode(self, given: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """Return (tensors, words) in order. Raises `TypeError` as `Words.encode` does."""
        _check(given, self.at._fields[:-1])
        return self.tensors.flat(given), self.words.flat(given)


def _check(given: Mapping[str, Any], names: Iterable[str]) -> None:
    if wrong := given.keys() ^ {*names}:
        raise TypeError(f"operands {', '.join(sorted(wrong))} are missing or not declared")
