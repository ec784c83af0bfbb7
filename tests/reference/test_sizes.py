"""Sums, products and quotients of sizes are those of the numbers that come for their names."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fastgru.reference.sizes import (
    Polynomial,
    Size,
    add,
    at_least,
    axis_atom,
    compare_sizes,
    divide,
    extreme,
    floor_divide,
    free_axis,
    is_name,
    multiply,
    public,
    quotient,
    remainder,
    subtract,
)

FREE, HIDDEN = free_axis("x", 1), axis_atom(0, 0)


def value(size: Size, numbers: dict[Any, int]) -> int:
    """The size, once each of its atoms has a number."""
    assert size is not None
    if not isinstance(size, Polynomial):
        return numbers[size] if isinstance(size, str) else size
    total = 0
    for monomial, factor in size.terms:
        for atom, power in monomial:
            whole = isinstance(atom, tuple) and atom[0] == "floor"
            factor *= (value(atom[1], numbers) // atom[2] if whole else numbers[atom]) ** power
        total += factor
    return total


def atom_of(size: Polynomial) -> Any:
    ((monomial, _),) = size.terms
    ((atom, _),) = monomial
    return atom


SIZES = st.recursive(
    st.integers(-4, 9) | st.sampled_from(["N", "T", FREE, HIDDEN]),
    lambda inner: (
        st.builds(add, inner, inner)
        | st.builds(multiply, inner, inner)
        | st.builds(floor_divide, inner, st.integers(1, 3))
    ),
    max_leaves=6,
)
ANSWERS = st.fixed_dictionaries({
    "N": st.integers(1, 9), "T": st.integers(1, 9), atom_of(FREE): st.integers(1, 9),
    atom_of(HIDDEN): st.integers(0, 9),
})  # fmt: skip
COMPARE = {
    "equal": int.__eq__, "not_equal": int.__ne__, "less": int.__lt__, "less_equal": int.__le__, "greater": int.__gt__,
    "greater_equal": int.__ge__,
}  # fmt: skip


@given(SIZES, SIZES, ANSWERS)
def test_arithmetic(a: Size, b: Size, numbers: dict[Any, int]) -> None:
    if a is None or b is None:
        return
    x, y = value(a, numbers), value(b, numbers)
    for size, expected in ((add(a, b), x + y), (subtract(a, b), x - y), (multiply(a, b), x * y)):
        assert size is None or value(size, numbers) == expected
    whole = divide(multiply(a, b), b)
    assert whole is None or y == 0 or value(whole, numbers) == x
    if y:
        for size, expected in ((divide(a, b), x // y), (quotient(a, b), int(x / y)), (remainder(a, b), x % y)):
            assert size is None or value(size, numbers) == expected


@given(SIZES, SIZES, ANSWERS)
def test_comparisons(a: Size, b: Size, numbers: dict[Any, int]) -> None:
    if a is None or b is None:
        return
    x, y = value(a, numbers), value(b, numbers)
    assert not at_least(a, b) or x >= y
    for greater in (True, False):
        size = extreme(a, b, greater=greater)
        assert size is None or value(size, numbers) == (max if greater else min)(x, y)
    none = dict.fromkeys(numbers, 0)
    for kind, compare in COMPARE.items():
        known = compare_sizes(kind, a, b)
        for answers in (numbers, none):
            assert known is None or bool(known) == compare(value(a, answers), value(b, answers)), kind


def test_what_cancels_is_plain() -> None:
    assert divide(multiply("N", "T", 64), multiply(64, "N")) == "T"
    assert subtract(add("T", 3), 3) == "T"
    assert subtract("T", "T") == 0
    assert divide(multiply(add("T", 1), "N", 8), add("T", 1)) == multiply(8, "N")
    assert floor_divide(multiply("T", 4), 2) == multiply(2, "T")
    assert divide("T", 2) is None
    assert str(add(multiply(2, "N", "T"), FREE, 3)) == "2*N*T+3+x[1]"
    assert str(floor_divide(add("T", 1), 2)) == "(1+T)//2"


def test_what_is_known_of_an_axis_alone_stays_inside() -> None:
    assert public(add(HIDDEN, 1)) is None
    assert public(floor_divide(HIDDEN, 2)) is None
    assert public(add(FREE, "N")) == add("N", FREE)
    assert is_name("N")
    assert is_name(FREE)
    assert not any(map(is_name, (3, None, add("N", 1), multiply("N", "T"), multiply(2, FREE), HIDDEN)))


def test_sizes_do_not_grow_beyond_all_use() -> None:
    size: Size = "T"
    for number in range(100):
        size = floor_divide(add(size, "T", number), 2)
    assert size is None or isinstance(size, Polynomial)
    square: Size = add("N", "T", FREE, 1)
    for _ in range(10):
        square = multiply(square, square)
    assert square is None
