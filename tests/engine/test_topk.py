"""TopK gives positions that belong to its values, along any axis and for any ties."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import Case, agree
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("precision", ["float32", "float64"])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_values_and_positions(precision, data):
    n = data.draw(st.integers(1, 40))
    shape = (data.draw(st.integers(0, 3)), n, data.draw(st.integers(1, 3)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.integers(-5, 5, shape).astype(data.draw(st.sampled_from(["float32", "int64", "int8"])))
    if x.dtype.kind == "f" and data.draw(st.booleans()):
        x[rng.random(shape) < 0.2] = np.nan
    k = np.array([data.draw(st.integers(0, n))])
    graph, feeds = Case("topk", (x, k), {"axis": 1, "largest": data.draw(st.booleans())}, constant=(1,)).graph(2)
    agree(graph, feeds, precision)
