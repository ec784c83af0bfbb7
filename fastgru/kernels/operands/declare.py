"""How an instruction is declared: its tensors and its words by name, in one place for who writes them and who reads.

    TOPK = Operands("x y positions", "outer n inner k smallest")
    AT = TOPK.at                                    # in the kernel: operands[AT.k], tensor(bases, operands, AT.x)
    TOPK.encode({"x": x, "y": y, ..., "k": 3})      # in the lowering, through `Builder.emit`

A tensor takes two words (index into `bases`, byte offset), and all tensors come before the words.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

__all__ = ["Operands", "places"]


def places(names: str, *, first: int = 0, **widths: int) -> Any:
    """The places of `names` in an array of words, in order, as a named tuple whose fields Numba reads as constants.

    first: the place of the first name. widths: how many words a name takes where it is not one.
    The field `words` behind them is the place behind the last: the number of words, where `first` is 0.
    """
    each = names.split()
    if unknown := {*widths} - {*each}:
        raise TypeError(f"widths of {', '.join(sorted(unknown))}, which {names!r} does not name")
    kind: Any = namedtuple("Places", [*each, "words"])  # type: ignore[misc]
    return kind(*accumulate((widths.get(name, 1) for name in each), initial=first))


class Operands:
    """The operands of an instruction, by name. at: the place of each; rest: of what follows, where anything may.

    rest: what the words behind the named ones are, empty where there are none.
    """

    def __init__(self, tensors: str, words: str = "", *, rest: str = "") -> None:
        self.tensors, self.words = tensors.split(), words.split()
        names = [*self.tensors, *self.words, *([rest] if rest else [])]
        self._rest = bool(rest)
        self.at = places(" ".join(names), **dict.fromkeys(self.tensors, 2))

    def encode(self, given: Mapping[str, Any], rest: Sequence[int] = ()) -> tuple[list[Any], list[Any]]:
        """(tensors, words) in their order; `TypeError` that names what is missing and what is not declared."""
        names = [*self.tensors, *self.words]
        if len(given) != len(names) or any(name not in given for name in names) or (rest and not self._rest):
            wrong = {*given} ^ {*names} or {"words behind the last"}
            raise TypeError(f"operands {', '.join(sorted(wrong))} are missing or not declared")
        return [given[name] for name in self.tensors], [*(given[name] for name in self.words), *rest]

    def tensor(self, name: str) -> int:
        """Which of the tensors `name` is."""
        return self.tensors.index(name)

    def word(self, name: str) -> int:
        """Which of the words `name` is."""
        return self.words.index(name)
