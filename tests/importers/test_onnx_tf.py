"""What tf2onnx writes of Keras 2's GRUs, loops among it, against TensorFlow's numbers. See tools/make_tf_golden.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_build import ort_run

import fastgru

FOLDER = Path(__file__).parent.parent / "data" / "onnx_tensorflow"
FILES = sorted(FOLDER.glob("*.onnx"))
LAYERS = {"both": 2, "stack": 2}


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "golden.npz") as arrays:
        return dict(arrays)


def hold(source, x, y, layers=1):
    model = fastgru.load(source)
    assert [node.op for node in model.graph.nodes].count("gru") == layers
    (got,) = model.run({"x": x}).values()
    np.testing.assert_allclose(got, y, rtol=0, atol=1e-6)
    (one,) = model.run({"x": x[1:]}).values()
    np.testing.assert_array_equal(one, got[1:])


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_gives_the_numbers_of_tensorflow_with_a_gru(path, golden):
    name = path.stem.rpartition("_")[0]
    hold(path, golden[f"{name}.x"], golden[f"{name}.y"], LAYERS.get(name, 1))


def test_bounds_of_a_hard_sigmoid_in_the_other_order(golden):
    model = onnx.load(next(FOLDER.glob("hard_*.onnx")))
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    ends = [node for node in body.node if node.op_type in ("Min", "Max")]
    assert [node.op_type for node in ends] == ["Min", "Max"] * 2
    for low, high in (ends[:2], ends[2:]):
        low.op_type, high.op_type = "Max", "Min"
        low.input[1], high.input[1] = high.input[1], low.input[1]
    hold(model.SerializeToString(), golden["hard.x"], golden["hard.y"])


@pytest.mark.parametrize("limit", [0.5, -1.0, 2.0])
def test_other_bounds_are_no_hard_sigmoid(limit, golden):
    model = onnx.load(next(FOLDER.glob("hard_*.onnx")))
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    first = next(node for node in body.node if node.op_type == "Min").input[1]
    for tensor in (*body.initializer, *model.graph.initializer):
        if tensor.name == first:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(limit), first))
    loaded, x = fastgru.load(model.SerializeToString()), golden["hard.x"]
    assert not any(node.op == "gru" for node in loaded.graph.nodes)
    (want,) = ort_run(model, {"x": x}).values()
    (got,) = loaded.run({"x": x}).values()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(1.0, float(np.abs(want).max())))
