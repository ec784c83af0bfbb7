"""Layer tests run twice: on the engine, and on the definitions in its place."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru.layers.base
from fastgru.budget import Budget
from fastgru.graph import Graph
from fastgru.reference import run_graph


class Definition:
    """What `fastgru.engine.Runnable` promises, computed by `fastgru.reference`."""

    def __init__(self, graph: Graph, *, precision: str, threads: int, budget: Budget, spin_us: float) -> None:
        self.graph, self.precision, self.threads = graph.validate(), precision, threads

    def run(self, inputs, out=None):
        assert all(a.flags.c_contiguous for a in inputs.values())
        results = run_graph(self.graph, inputs, dtype=self.precision)
        for name, array in (out or {}).items():
            array[...] = results[name]
        return results


@pytest.fixture(params=["definition", "engine"])
def runner(request, monkeypatch):
    """Each way of running a layer's graph."""
    if request.param == "definition":
        monkeypatch.setattr(fastgru.layers.base, "make_runnable", Definition)
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(0)
