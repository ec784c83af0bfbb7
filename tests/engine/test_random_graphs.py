"""Random graphs: whatever nodes follow each other, the engine gives what the definitions give."""

from __future__ import annotations

import random

import numpy as np
import pytest
from engine_cases import agree
from engine_graphs import draw_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastgru.engine import Executable
from fastgru.engine.passes import simplify
from fastgru.reference import run_graph

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(QUICK, max_examples=2000)


SEEDS = st.integers(0, 1 << 32)


def check(seed, nodes, precision):
    graph, feeds = draw_graph(random.Random(seed), nodes)
    agree(graph, feeds, precision, 100)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@QUICK
@given(seed=SEEDS, nodes=st.integers(1, 14))
def test_random_graphs(precision, seed, nodes):
    check(seed, nodes, precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@LONG
@given(seed=SEEDS, nodes=st.integers(1, 40))
def test_random_graphs_at_length(precision, seed, nodes):
    check(seed, nodes, precision)


@QUICK
@given(seed=SEEDS, nodes=st.integers(1, 14))
def test_passes_change_no_answer(seed, nodes):
    graph, feeds = draw_graph(random.Random(seed), nodes)
    simple = simplify(graph)
    assert len(simple.nodes) <= len(graph.nodes)
    wanted, got = run_graph(graph, feeds), run_graph(simple, feeds)
    for name, want in wanted.items():
        np.testing.assert_allclose(got[name], want, rtol=1e-10, atol=1e-10)


@QUICK
@given(seed=SEEDS, nodes=st.integers(1, 14))
def test_the_second_run_in_the_same_memory_gives_the_same_bits(seed, nodes):
    graph, feeds = draw_graph(random.Random(seed), nodes)
    executable = Executable(graph)
    first = executable.run(feeds)
    other = {name: array + 1 for name, array in feeds.items()}
    executable.run(other)
    for name, array in executable.run(feeds).items():
        np.testing.assert_array_equal(array, first[name])
