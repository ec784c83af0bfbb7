"""Loops over GRU cells in all the spellings of exporters become GRUs: random models against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from loop_spellings import spelled, spoiled
from onnx_build import ort_run

import fastgru
from fastgru.errors import FastGRUError


def hold(seed):
    """As many GRUs as were spelled, and ONNX Runtime's numbers within 1e-5 of the largest."""
    model, inputs, grus = spelled(seed)
    # Of some of these files its optimiser removes what it then misses.
    want = ort_run(model, inputs, optimised=False)
    loaded = fastgru.load(model.SerializeToString())
    assert [node.op for node in loaded.graph.nodes].count("gru") == grus, seed
    got = loaded.run(inputs)
    for name, array in want.items():
        assert got[name].shape == array.shape, seed
        scale = max(1.0, float(np.abs(array).max(initial=0)))
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-5 * scale, err_msg=f"seed {seed}")


@pytest.mark.parametrize("first", range(0, 150, 10))
def test_loops_in_any_spelling_become_grus(first):
    for seed in range(first, first + 10):
        hold(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 10_000, 100))
def test_ten_thousand_loops_become_grus(first):
    for seed in range(first, first + 100):
        hold(seed)


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_what_is_almost_a_gru_has_the_numbers_that_it_has(first):
    for seed in range(first, first + 10):
        model, inputs, _ = spoiled(seed)
        try:
            want = ort_run(model, inputs, optimised=False)
        except Exception:  # no model any more: of many classes
            continue
        try:
            got = fastgru.load(model.SerializeToString()).run(inputs)
        except FastGRUError:
            continue
        for name, array in want.items():
            scale = max(1.0, float(np.abs(array).max(initial=0)))
            np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-4 * scale, err_msg=f"seed {seed}")
