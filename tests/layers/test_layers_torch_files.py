"""State dicts as torch saved them (`tools/make_torch_golden.py`), read without torch, give torch's outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastgru.importers.weights import read_weights
from fastgru.layers import GRU, GRUCell

FOLDER = Path(__file__).resolve().parent.parent / "data" / "torch"
GOLDEN = np.load(FOLDER / "golden.npz")
CASES = sorted(path.stem for path in FOLDER.glob("*.pt"))


def check(gru, case, atol):
    x, h0, lengths = (GOLDEN[f"{case}/{name}"] for name in ("x", "h0", "lengths"))
    y, h_n = gru(x, h0)
    np.testing.assert_allclose(y, GOLDEN[f"{case}/y"], rtol=0, atol=atol)
    np.testing.assert_allclose(h_n, GOLDEN[f"{case}/h_n"], rtol=0, atol=atol)
    y, h_n = gru(x, h0, lengths)
    np.testing.assert_allclose(y, GOLDEN[f"{case}/y_lengths"], rtol=0, atol=atol)
    np.testing.assert_allclose(h_n, GOLDEN[f"{case}/h_n_lengths"], rtol=0, atol=atol)


def test_every_dtype_and_both_formats_are_there():
    names = {tuple(case.split("_")[3:]) for case in CASES}
    assert {dtype for dtype, _ in names} == {"float16", "bfloat16", "float32", "float64"}
    assert {form for _, form in names} == {"zip", "legacy"}


@pytest.mark.parametrize(("precision", "atol"), [("float32", 2e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_state_dict(runner, case, precision, atol):
    with read_weights(FOLDER / f"{case}.pt") as weights:
        gru = GRU.from_torch(weights, prefix="gru", precision=precision)
    assert gru.num_layers == int(case[0])
    assert gru.specs[0].num_directions == (2 if "_bi_" in case else 1)
    check(gru, case, atol)


def test_nested_checkpoint(runner):
    gru = GRU.from_torch(read_weights(FOLDER / "nested.tar"), prefix="encoder")
    check(gru, "nested", 2e-6)


def test_cell(runner):
    cell = GRUCell.from_torch(read_weights(FOLDER / "cell.pth"))
    np.testing.assert_allclose(cell(GOLDEN["cell/x"], GOLDEN["cell/h"]), GOLDEN["cell/y"], rtol=0, atol=2e-6)


def test_batch_first(runner):
    case = "2_bi_bias_float64_zip"
    gru = GRU.from_torch(read_weights(FOLDER / f"{case}.pt"), "gru", batch_first=True, precision="float64")
    y, _ = gru(GOLDEN[f"{case}/x"].swapaxes(0, 1), GOLDEN[f"{case}/h0"])
    np.testing.assert_allclose(y, GOLDEN[f"{case}/y"].swapaxes(0, 1), rtol=0, atol=1e-12)
