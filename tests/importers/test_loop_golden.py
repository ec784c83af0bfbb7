"""Loops that exporters wrote of GRUs, against their frameworks' numbers. See tools/make_loop_golden.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastgru

FILES = sorted((Path(__file__).parents[1] / "data" / "onnx_loops").glob("*.onnx"))
LAYERS = {"keras_both": 2, "keras_cells": 2, "scan_stack": 2, "tf1_both": 2, "tf1_cells": 2}


# Torch declares the state of a loop over a list with an axis that it has not.
@pytest.mark.filterwarnings("ignore:.*is declared with:fastgru.errors.SuspiciousModelWarning")
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_loops_of_exporters_become_grus_with_their_numbers(path):
    with np.load(path.with_suffix(".npz")) as golden:
        arrays = dict(golden)
    model = fastgru.load(path)
    assert [node.op for node in model.graph.nodes].count("gru") == LAYERS.get(path.stem, 1)
    got = model.run({name[2:]: array for name, array in arrays.items() if name.startswith("x.")})
    for i, array in enumerate(got.values()):
        np.testing.assert_allclose(array, arrays[f"y{i}"], rtol=0, atol=1e-6)


def test_a_free_number_of_steps_may_be_none():
    """TensorFlow asks 0 < T before the first iteration: the states are what they were then."""
    model = fastgru.load(FILES[0].parent / "keras_after.onnx")
    (y,) = model.run({"x": np.zeros((2, 0, 3), np.float32)}).values()
    assert y.shape == (2, 0, 4)
