"""Which nodes are left in more bits, on invented costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.precisions import weight_bytes
from fastgru.quantization.choose import LADDER, choose

COSTS = {"int8": 1.0, "bfloat16": 0.1, "float32": 0.0}


def chosen(moved, sizes, bound, ladders=None):
    """moved: how far each node alone, in int8, takes the outputs; squares add up."""

    def excess(choice):
        return np.sqrt(sum((moved[n] * COSTS[p]) ** 2 for n, p in choice.items())) / bound

    return choose(
        ladders or dict.fromkeys(moved, LADDER),
        lambda name, precision: weight_bytes(precision, 1, sizes[name]),
        lambda name, precision: moved[name] * COSTS[precision] / bound,
        excess,
    ), excess


def test_all_is_int8_where_that_is_within_the_bound():
    assert chosen({"a": 0.1, "b": 0.2}, {"a": 10, "b": 10}, 1)[0] == {"a": "int8", "b": "int8"}


def test_what_costs_most_for_its_size_goes_up_first():
    moved, sizes = {"large": 1.0, "small": 0.9, "harmless": 0.001}, {"large": 10_000, "small": 100, "harmless": 100}
    assert chosen(moved, sizes, 1.1)[0] == {"large": "int8", "small": "bfloat16", "harmless": "int8"}
    assert chosen(moved, sizes, 0.2)[0] == {"large": "bfloat16", "small": "bfloat16", "harmless": "int8"}
    assert chosen(moved, sizes, 0.01)[0] == {"large": "float32", "small": "float32", "harmless": "int8"}


def test_a_ladder_is_kept_to():
    ladders = {"a": ("bfloat16", "float32"), "b": ("float32",)}
    assert chosen({"a": 1.0, "b": 5.0}, {"a": 10, "b": 10}, 0.5, ladders)[0] == {"a": "bfloat16", "b": "float32"}
    assert chosen({"a": 1.0, "b": 5.0}, {"a": 10, "b": 10}, 0.05, ladders)[0] == {"a": "float32", "b": "float32"}


@settings(max_examples=50, deadline=None)
@given(
    nodes=st.lists(st.tuples(st.floats(0, 10), st.integers(1, 10**6)), min_size=0, max_size=12),
    bound=st.floats(1e-3, 10),
)
def test_the_bound_holds_whatever_the_costs(nodes, bound):
    moved = {str(i): m for i, (m, _) in enumerate(nodes)}
    choice, excess = chosen(moved, {str(i): s for i, (_, s) in enumerate(nodes)}, bound)
    assert set(choice) == set(moved)
    assert excess(choice) <= 1
    for name, precision in choice.items():  # and nothing could be smaller by itself
        for lower in LADDER[: LADDER.index(precision)][-1:]:
            assert excess({**choice, name: lower}) > 1


@pytest.mark.parametrize(("precision", "expected"), [("float32", 48), ("bfloat16", 24), ("int8", 24)])
def test_bytes_count_the_scales(precision, expected):
    assert weight_bytes(precision, 3, 12) == expected
