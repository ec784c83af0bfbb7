"""Branches of which only one takes the shapes of a call, as in models that hold a network for each sampling rate."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastgru.errors import ShapeError
from fastgru.load import load

F, B = TensorProto.FLOAT, TensorProto.BOOL
info, node = helper.make_tensor_value_info, helper.make_node
WIDTHS = (3, 5, 7)
MISFIT = "the branch that is taken cannot run for these shapes"


def summed(name: str, width: int):
    """The sum of x times a matrix of this width."""
    nodes = [node("MatMul", ["x", f"w{width}"], [f"{name}0"]), node("ReduceSum", [f"{name}0"], [name], keepdims=0)]
    return helper.make_graph(nodes, name, [], [info(name, F, [])])


def nested():
    """Width 5 or 7 by `d`, inside the branch that `c` does not choose."""
    inner = node("If", ["d"], ["inner"], then_branch=summed("e", 5), else_branch=summed("f", 7))
    return helper.make_graph([inner], "nested", [], [info("inner", F, [])])


def model(otherwise, *extra: str) -> bytes:
    weights = [numpy_helper.from_array(np.full((w, 2), w, np.float32), f"w{w}") for w in WIDTHS]
    nodes = [node("If", ["c"], ["y"], then_branch=summed("a", 3), else_branch=otherwise)]
    inputs = [info("x", F, ["N", "K"]), *(info(name, B, []) for name in ("c", *extra))]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", F, [])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def ones(width: int) -> np.ndarray:
    return np.ones((2, width), np.float32)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_branch_that_fits_is_carried_out(threads):
    loaded = load(model(summed("b", 5)), threads=threads, allow_unread=True)
    for _ in range(2):
        for width, which in ((3, True), (5, False)):
            assert loaded(ones(width), np.array(which)) == 2 * 2 * width * width
            with pytest.raises(ShapeError, match=rf"x \(2, {width}\) and weight .*{MISFIT}"):
                loaded(ones(width), np.array(not which))
    with pytest.raises(ShapeError, match=r"neither branch takes these shapes: .*x \(2, 4\) and weight \(2, 3\)"):
        loaded(ones(4), np.array(True))


def test_branches_inside_branches():
    loaded = load(model(nested(), "d"))
    for width, c, d in ((3, True, True), (3, True, False), (5, False, True), (7, False, False)):
        assert loaded(ones(width), np.array(c), np.array(d)) == 4 * width * width
    for width, c, d in ((3, False, True), (5, True, True), (5, False, False), (7, False, True), (7, True, False)):
        with pytest.raises(ShapeError, match="cannot run for these shapes"):
            loaded(ones(width), np.array(c), np.array(d))


def test_a_branch_inside_a_loop():
    """The sum over the rows of xs of whichever of two products fits."""
    body = helper.make_graph(
        [
            node("If", ["c"], ["p"], then_branch=summed("a", 3), else_branch=summed("b", 5)),
            node("Add", ["s", "p"], ["s2"]),
            node("Identity", ["on"], ["on2"]),
        ],
        "body",
        [info("i", TensorProto.INT64, []), info("on", B, []), info("s", F, [])],
        [info("on2", B, []), info("s2", F, [])],
    )
    weights = [numpy_helper.from_array(np.full((w, 2), w, np.float32), f"w{w}") for w in WIDTHS[:2]]
    weights += [numpy_helper.from_array(np.float32(0), "zero")]
    graph = helper.make_graph(
        [node("Loop", ["n", "", "zero"], ["y"], body=body)], "g",
        [info("x", F, ["N", "K"]), info("c", B, []), info("n", TensorProto.INT64, [])], [info("y", F, [])], weights,
    )  # fmt: skip
    loaded = load(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    for width, which in ((3, True), (5, False)):
        assert loaded(ones(width), np.array(which), np.array(4)) == 4 * 4 * width * width
        with pytest.raises(ShapeError, match=MISFIT):
            loaded(ones(width), np.array(not which), np.array(4))
