"""How an instruction is declared: its tensors and its words by name, in one place for who writes them and who reads.

    TOPK = Operands("x y positions", "outer n inner k smallest")
    AT = TOPK.at                                    # in the kernel: operands[AT.k], tensor(bases, operands, AT.x)
    TOPK.encode({"x": x, "y": y, ..., "k": 3})      # in the lowering, through `PlanBuilder.emit`

A tensor takes two words (index into `bases`, byte offset), and all tensors come before the words. A name that stands
for several of them says how many; words of any number may follow the named ones.
"""

import functools
from collections.abc import Iterable, Mapping
from itertools import accumulate
from operator import itemgetter
from typing import Any

__all__ = ["Operands", "Words", "codes", "places"]


class _Named(tuple[int, ...]):
    """What `collections.namedtuple` makes, as far as Numba and this package know it: there are over a hundred of them,
    which it would compile a function for each."""

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
    """The numbers by which instruction words tell `names` from each other, as a named tuple like that of `places`."""
    each = names.split()
    return _named("Codes", each, range(first, first + len(each)))


def places(names: str, *, first: int = 0, **widths: int) -> Any:
    """The places of `names` in an array of words, in order, as a named tuple whose fields Numba reads as constants.

    first: the place of the first name. widths: how many words a name takes where it is not one.
    The field `words` behind them is the place behind the last: the number of words, where `first` is 0.
    """
    each = names.split()
    if unknown := {*widths} - {*each}:
        raise TypeError(f"widths of {', '.join(sorted(unknown))}, which {names!r} does not name")
    return _named("Places", [*each, "words"], accumulate((widths.get(name, 1) for name in each), initial=first))


class Words:
    """A record of words, by name. at: the place of each.

    counts: how many words a name stands for, where it is not one: a sequence of them is given for it.
    rest: the name of the words behind, of which there may be any number.
    """

    def __init__(self, names: str, *, rest: str = "", **counts: int) -> None:
        widths = {**counts, rest: 0} if rest else counts
        self.at = places(f"{names} {rest}", **widths)
        self._counts = {name: widths.get(name) for name in self.at._fields[:-1]}
        self._rest = rest

    @property
    def zeros(self) -> dict[str, int]:
        """A record that nobody reads."""
        return dict.fromkeys(self._counts, 0)

    def encode(self, given: Mapping[str, Any]) -> list[Any]:
        """The words in their order; `TypeError` that names what is missing, not declared, or of another number."""
        _check(given, self._counts)
        return self.flat(given)

    def flat(self, given: Mapping[str, Any]) -> list[Any]:
        """The same for what has every name, and may have others."""
        return [word for name in self._counts for word in self._each(name, given[name])]

    def put(self, words: list[Any], name: str, value: Any) -> None:
        """Change what a name stands for, in words that `encode` gave."""
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

    counts: as for `Words`, of tensors, too.
    """

    def __init__(self, tensors: str, words: str = "", *, rest: str = "", **counts: int) -> None:
        several = {name: count for name, count in counts.items() if name in tensors.split()}
        counts = {name: count for name, count in counts.items() if name not in several}
        self.tensors, self.words = Words(tensors, rest="", **several), Words(words, rest=rest, **counts)
        widths = {name: 2 * several.get(name, 1) for name in tensors.split()}
        self.at = places(f"{tensors} {words} {rest}", **widths, **counts, **({rest: 0} if rest else {}))

    def encode(self, given: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """(tensors, words) in their order; `TypeError` as for `Words`."""
        _check(given, self.at._fields[:-1])
        return self.tensors.flat(given), self.words.flat(given)


def _check(given: Mapping[str, Any], names: Iterable[str]) -> None:
    if wrong := given.keys() ^ {*names}:
        raise TypeError(f"operands {', '.join(sorted(wrong))} are missing or not declared")
