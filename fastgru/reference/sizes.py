"""Sizes that are known before a model runs: numbers, names of free dimensions, and polynomials of those.

Two sizes that are equal here are equal whenever the model runs. A free dimension is assumed to have at least one
element. The definitions handle empty ones.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from fastgru.records import dataclass

__all__ = [
    "Polynomial", "Size", "add", "at_least", "axis_atom", "compare_sizes", "divide", "extreme", "floor_divide",
    "free_axis", "is_name", "multiply", "public", "quotient", "remainder", "subtract",
]  # fmt: skip

# A name; ("free", input, axis) for a dimension without a name; ("axis", input, axis) for an unknown size, within one
# operator; ("floor", size, divisor) for size // divisor.
Atom: TypeAlias = str | tuple[str, Any, int]
Monomial: TypeAlias = frozenset[tuple[Atom, int]]

_ONE: Final[Monomial] = frozenset()
_MOST_TERMS, _MOST_DEGREE, _MOST_DEPTH, _MOST_FACTOR = 16, 16, 4, 1 << 62


@dataclass(frozen=True)
class Polynomial:
    """A sum of terms. Each is a pair of a monomial, which is a set of (atom, power), and an integer factor."""

    terms: frozenset[tuple[Monomial, int]]

    def __str__(self) -> str:
        return "+".join(sorted(_term_text(*term) for term in self.terms))


Size: TypeAlias = int | str | Polynomial | None


def _term_text(monomial: Monomial, factor: int) -> str:
    atoms = sorted(_atom_text(atom) for atom, power in monomial for _ in range(power))
    return "*".join(atoms if factor == 1 and atoms else [str(factor), *atoms])


def _atom_text(atom: Atom) -> str:
    if isinstance(atom, str):
        return atom
    kind, first, second = atom
    return f"({first})//{second}" if kind == "floor" else f"{first}[{second}]"


def _of_atom(atom: Atom) -> Polynomial:
    return Polynomial(frozenset({(frozenset({(atom, 1)}), 1)}))


def free_axis(name: str, axis: int) -> Polynomial:
    """Return the size of a free dimension without a name, given an input of a graph and its axis."""
    return _of_atom(("free", name, axis))


def axis_atom(index: int, axis: int) -> Polynomial:
    """Return the size of an axis whose size is unknown, for use within one operator; `public` turns it into None."""
    return _of_atom(("axis", index, axis))


def is_name(size: Size) -> bool:
    """Return whether a size is a free dimension itself, named or not."""
    if not isinstance(size, Polynomial) or len(size.terms) != 1:
        return isinstance(size, str)
    ((monomial, factor),) = size.terms
    return factor == 1 and len(monomial) == 1 and all(atom[0] == "free" and power == 1 for atom, power in monomial)


def public(size: Size) -> Size:
    """Return the size, or None if it only has a meaning within one operator."""
    return None if isinstance(size, Polynomial) and "axis" in set(_kinds(size)) else size


def _kinds(size: object) -> Iterable[object]:
    if isinstance(size, Polynomial):
        for monomial, _ in size.terms:
            for atom, _ in monomial:
                if not isinstance(atom, str):
                    yield atom[0]
                    yield from _kinds(atom[1])


def _depth(size: object) -> int:
    if not isinstance(size, Polynomial):
        return 0
    atoms = [atom for monomial, _ in size.terms for atom, _ in monomial]
    return max((1 + _depth(atom[1]) for atom in atoms if not isinstance(atom, str)), default=0)


def _terms(size: int | str | Polynomial) -> dict[Monomial, int]:
    if isinstance(size, Polynomial):
        return dict(size.terms)
    return {frozenset({(size, 1)}): 1} if isinstance(size, str) else {_ONE: size} if size else {}


def _made(terms: Mapping[Monomial, int]) -> Size:
    """Return the simplest form of a sum: a number, a name, or a polynomial. Return None if it is too long."""
    kept = {monomial: factor for monomial, factor in terms.items() if factor}
    if not kept.keys() - {_ONE}:
        return kept.get(_ONE, 0)
    if len(kept) > _MOST_TERMS or any(
        abs(f) > _MOST_FACTOR or sum(power for _, power in m) > _MOST_DEGREE for m, f in kept.items()
    ):
        return None
    if len(kept) == 1:
        ((monomial, factor),) = kept.items()
        ((atom, power), *more) = monomial
        if isinstance(atom, str) and power == factor == 1 and not more:
            return atom
    return Polynomial(frozenset(kept.items()))


def add(*sizes: Size) -> Size:
    """Return the sum, None if one of the sizes is unknown."""
    if all(type(size) is int for size in sizes):
        return sum(sizes)  # type: ignore[arg-type]
    total: Counter[Monomial] = Counter()
    for size in sizes:
        if size is None:
            return None
        for monomial, factor in _terms(size).items():
            total[monomial] += factor
    return _made(total)


def subtract(a: Size, b: Size) -> Size:
    """Return a - b, None if one of them is unknown."""
    return add(a, multiply(-1, b))


def multiply(*sizes: Size) -> Size:
    """Return the product, None if one of the sizes is unknown."""
    result: Size = math.prod(s for s in sizes if isinstance(s, int))
    for size in sizes:
        if size is None or result is None:
            return None
        if not isinstance(size, int):
            result = _multiplied(result, size)
    return result


def _multiplied(a: int | str | Polynomial, b: str | Polynomial) -> Size:
    total: Counter[Monomial] = Counter()
    for (m, f), (n, g) in ((x, y) for x in _terms(a).items() for y in _terms(b).items()):
        powers = Counter(dict(m))
        powers.update(dict(n))
        total[frozenset(powers.items())] += f * g
    return _made(total)


def divide(a: Size, b: Size) -> Size:
    """Return a / b if that is certain to be an integer or a polynomial, otherwise None."""
    if a is None or b is None or b == 0:
        return None
    rest, divisor = _terms(a), _terms(b)
    order = sorted({atom for monomial in (*rest, *divisor) for atom, _ in monomial}, key=repr)
    lead = max(divisor, key=lambda m: _powers(m, order))
    quotient: dict[Monomial, int] = {}
    while rest:
        top = max(rest, key=lambda m: _powers(m, order))
        left = [x - y for x, y in zip(_powers(top, order), _powers(lead, order), strict=True)]
        if min(left, default=0) < 0 or rest[top] % divisor[lead] or len(quotient) > _MOST_TERMS:
            return None
        monomial = frozenset((atom, power) for atom, power in zip(order, left, strict=True) if power)
        quotient[monomial] = rest[top] // divisor[lead]
        taken = multiply(b, _made({monomial: quotient[monomial]}))
        difference = subtract(_made(rest), taken)
        if difference is None:
            return None
        rest = _terms(difference)
    return _made(quotient)


def _powers(monomial: Monomial, order: list[Atom]) -> list[int]:
    powers = dict(monomial)
    return [powers.get(atom, 0) for atom in order]


def floor_divide(a: Size, divisor: int) -> Size:
    """Return a // divisor, as an atom of its own if the division may leave a remainder; None if nested too deep."""
    if isinstance(a, int) or a is None or divisor == 1:
        return a // divisor if isinstance(a, int) else a
    even = divide(a, divisor)
    if even is not None or _depth(a) >= _MOST_DEPTH:
        return even
    return _of_atom(("floor", a, divisor))


def at_least(a: Size, b: Size, *, empty: bool = False) -> bool:
    """Return whether a >= b is certain. empty: also if free dimensions may be 0."""
    difference = subtract(a, b)
    if difference is None:
        return False
    least = 0
    for monomial, factor in _terms(difference).items():
        floors = [atom[1] for atom, _ in monomial if atom[0] == "floor" and not isinstance(atom, str)]
        if (monomial and factor < 0) or not all(at_least(size, 0, empty=empty) for size in floors):
            return False
        some = not empty and all(isinstance(atom, str) or atom[0] == "free" for atom, _ in monomial)
        least += factor if some or not monomial else 0
    return least >= 0


def quotient(a: Size, b: Size) -> Size:
    """Return a / b rounded towards zero, as integers are divided; None if that is unknown."""
    if isinstance(a, int) and isinstance(b, int) and b:
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return floor_divide(a, b) if isinstance(b, int) and b > 0 and at_least(a, 0) else divide(a, b)


def remainder(a: Size, b: Size) -> Size:
    """Return a mod b, with the sign of b; None if that is unknown."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b if b else None
    return None if divide(a, b) is None else 0


def extreme(a: Size, b: Size, *, greater: bool) -> Size:
    """Return the greater or the smaller of both, None if it is uncertain which that is."""
    above, below = at_least(a, b, empty=True), at_least(b, a, empty=True)
    return (a if above == greater else b) if above or below else None


def compare_sizes(kind: str, a: Size, b: Size) -> Size:
    """Return 1 or 0 for the comparison, None if it is uncertain. Free dimensions may be 0 here."""
    least, most = at_least(a, b, empty=True), at_least(b, a, empty=True)
    above, below = at_least(a, add(b, 1), empty=True), at_least(b, add(a, 1), empty=True)
    yes, no = {
        "equal": (least and most, above or below),
        "greater": (above, most),
        "greater_equal": (least, below),
        "less": (below, least),
        "less_equal": (most, above),
        "not_equal": (above or below, least and most),
    }[kind]
    return 1 if yes else 0 if no else None
