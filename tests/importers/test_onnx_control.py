"""If, Loop and Scan: branches, GRU cells in loops, unrolled loops, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loop_models import CELLS, Cell, H, I, info, loop_model, scan_model, torch_linear
from onnx import TensorProto, helper
from onnx_build import make_model, ort_run

import fastgru
from fastgru.errors import FastGRUError, InvalidModelError, UnreadTensorsError
from fastgru.importers.onnx import read_onnx
from fastgru.importers.onnx.lists import without_lists
from fastgru.importers.onnx.proto import NodeProto
from fastgru.reference import run_graph

node = helper.make_node
RNG = np.random.default_rng(3)
X = RNG.standard_normal((2, 3)).astype(np.float32)


def feeds(T, axis=0):
    shape = (T, 2, I) if axis == 0 else (2, T, I)
    rng = np.random.default_rng(T)
    return {"xs": rng.standard_normal(shape).astype(np.float32), "h0": rng.standard_normal((2, H)).astype(np.float32)}


def check(model, inputs, ops=("gru",)):
    """Equal to ONNX Runtime, and made of these operators."""
    graph = read_onnx(model.SerializeToString())
    if ops is not None:
        assert {n.op for n in graph.nodes} <= {*ops, "squeeze", "unsqueeze", "transpose", "slice"}
        assert {n.op for n in graph.nodes} >= set(ops)
    want = ort_run(model, inputs)
    for results in (run_graph(graph, inputs, dtype="float32"), fastgru.Model(graph).run(inputs)):
        for name, array in want.items():
            assert results[name].shape == array.shape
            np.testing.assert_allclose(results[name], array, rtol=1e-5, atol=2e-6)
    return graph


@pytest.mark.parametrize("write", CELLS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", [scan_model, loop_model], ids=["scan", "loop"])
def test_textbook_cells_become_a_gru(write, make):
    model = make(write)
    check(model, feeds(5))
    check(model, feeds(1))
    check(make(write, T=4), feeds(4))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("back_in", "back_out"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_directions_and_axes_of_a_scan(inside, back_in, back_out):
    options = {"scan_input_directions": [back_in], "scan_output_directions": [back_out]}
    check(scan_model(torch_linear, inside=inside, **options), feeds(5))


def test_a_scan_that_stacks_along_another_axis():
    check(scan_model(torch_linear, scan_output_axes=[1]), feeds(5))


@pytest.mark.parametrize("axis", [0, 1])
def test_loops_as_exporters_write_them(axis):
    check(loop_model(torch_linear, axis=axis), feeds(6, axis))
    check(loop_model(torch_linear, axis=axis, counter=True), feeds(6, axis))
    check(loop_model(torch_linear, axis=axis, counter=True, T=6), feeds(6, axis))
    check(loop_model(torch_linear, axis=axis, backward=True, T=6), feeds(6, axis))


def test_a_projection_behind_the_cell_becomes_a_layer():
    weight = helper.make_tensor("P", TensorProto.FLOAT, [H, 2], RNG.standard_normal(2 * H).astype(np.float32))
    behind = [node("Constant", [], ["P"], value=weight), node("MatMul", ["h2", "P"], ["y"])]
    check(scan_model(torch_linear, behind=behind), feeds(5), ops=("gru", "linear"))


def test_two_cells_in_one_body():
    first, second = Cell(1), Cell(2)
    torch_linear(first)
    torch_linear(second)

    def renamed(nodes, names):
        for n in nodes:
            n.input[:] = [names.get(a, names["*"] + a) for a in n.input]
            n.output[:] = [names.get(a, names["*"] + a) for a in n.output]

    arrays = {f"a{k}": v for k, v in first.arrays.items()} | {f"b{k}": v for k, v in second.arrays.items()}
    # The second reads the first's state of the same iteration: as wide as its own input has to be.
    for name, array in arrays.items():
        if name.startswith("b") and array.shape == (3 * H, I):
            arrays[name] = RNG.standard_normal((3 * H, H)).astype(np.float32)
    renamed(first.nodes, {"x": "x", "h": "h", "h2": "h2", "*": "a"})
    renamed(second.nodes, {"x": "h2", "h": "k", "h2": "k2", "*": "b"})
    body = helper.make_graph(
        [*first.nodes, *second.nodes, node("Identity", ["k2"], ["y"])],
        "body",
        [info("h"), info("k"), info("x")],
        [info("h2"), info("k2"), info("y")],
    )
    scan = node("Scan", ["h0", "h0", "xs"], ["hn", "kn", "ys"], body=body, num_scan_inputs=1)
    model = make_model([scan], feeds(5), ["hn", "kn", "ys"], arrays)
    graph = check(model, feeds(5))
    assert sum(n.op == "gru" for n in graph.nodes) == 2


def damaged_cell(c):
    """A GRU but for the gate that scales the candidate."""
    torch_linear(c)
    c.nodes[-1].output[0] = "almost"
    c("Mul", "almost", c.constant(np.float32(1.0001)), to="h2")


def test_what_is_almost_a_gru_is_unrolled_where_it_is_short():
    graph = check(scan_model(damaged_cell, T=3), feeds(3), ops=None)
    assert not any(n.op in ("gru", "loop") for n in graph.nodes)
    check(loop_model(damaged_cell, T=3), feeds(3), ops=None)
    check(loop_model(damaged_cell, T=3, counter=True), feeds(3), ops=None)
    for make in (scan_model, loop_model):
        for T in (None, 9):
            graph = check(make(damaged_cell, T=T), feeds(9), ops=None)
            assert [n.op for n in graph.nodes].count("loop") == 1


@pytest.mark.parametrize("carried", [False, True])
def test_an_unrolled_body_shares_its_weights(carried, tmp_path):
    """Folded once, saved once: whether they are captured, in the body, or handed on from iteration to iteration."""
    model = carried_weights(T=6) if carried else scan_model(damaged_cell, T=6, inside=True)
    loaded = fastgru.load(model.SerializeToString())
    assert not any(n.op == "gru" for n in loaded.graph.nodes)
    big = [a for a in loaded.graph.constants.values() if a.size >= H * H]
    assert sum(a.size for a in big) == 3 * H * (I + H)
    loaded.save(tmp_path / "m.safetensors")
    again = fastgru.load(tmp_path / "m.safetensors")
    assert sum(a.size for a in again.graph.constants.values() if a.size >= H * H) == 3 * H * (I + H)
    check(model, feeds(6), ops=None)


def carried_weights(T):
    """Matrices as states that a Loop hands on, multiplied by MatMul, which wants them transposed."""
    rng = np.random.default_rng(4)
    arrays = {"K": rng.normal(0, 0.5, (I, 3 * H)), "R": rng.normal(0, 0.5, (H, 3 * H))}
    arrays = {name: a.astype(np.float32) for name, a in arrays.items()}
    nodes = [
        node("Gather", ["xs", "i"], ["x"], axis=0),
        node("MatMul", ["x", "k"], ["gx"]),
        node("MatMul", ["h", "r"], ["gh"]),
        node("Split", ["gx"], ["a", "b", "c"], axis=1),
        node("Split", ["gh"], ["d", "e", "f"], axis=1),
        node("Add", ["a", "d"], ["u"]),
        node("Tanh", ["u"], ["z"]),
        node("Mul", ["z", "e"], ["v"]),
        node("Sum", ["v", "b", "c", "f"], ["w"]),
        node("Tanh", ["w"], ["h2"]),
        node("Identity", ["go"], ["go2"]),
        node("Identity", ["r"], ["r2"]),
    ]
    body = helper.make_graph(
        nodes,
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("h"), info("k"), info("r")],
        [info("go2", TensorProto.BOOL, []), info("h2"), info("k"), info("r2"), info("h2")],
    )
    loop = node("Loop", ["T", "true", "h0", "K", "R"], ["hn", "kn", "rn", "ys"], body=body, name="loop")
    extra = {"T": np.array(T), "true": np.array(True)}
    return make_model([loop], feeds(T), ["hn", "ys"], {**arrays, **extra}, opset=13)


def test_the_fallback_has_no_part_in_loops():
    model = scan_model(damaged_cell)
    assert not fastgru.load(model.SerializeToString(), fallback="reference").reference_nodes


def branch(op, name, extra=()):
    return helper.make_graph([node(op, ["x"], [name]), *extra], name, [], [info(name)])


def if_model(condition, *, feed=None, **arrays):
    nodes = [*condition, node("If", ["c"], ["y"], then_branch=branch("Tanh", "t"), else_branch=branch("Sigmoid", "e"))]
    return make_model(nodes, {"x": X, **(feed or {})}, ["y"], arrays)


def test_a_constant_condition_takes_its_branch():
    for truth in (True, False):
        check(if_model([], c=np.array(truth)), {"x": X}, ops=("activation",))
    size = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i"], ["n"], axis=0),
        node("Equal", ["n", "three"], ["c"]),
    ]
    for index in (0, 1, -1):
        model = if_model(size, i=np.array(index), three=np.array(3))
        check(model, {"x": X}, ops=("activation",))


def test_an_open_condition_is_a_branch():
    model = if_model([], feed={"c": np.array(True)})
    for truth in (True, False):
        check(model, {"x": X, "c": np.array(truth)}, ops=("branch",))


def test_names_of_bodies():
    then = branch("Tanh", "t", [node("Tanh", ["t"], ["x"])])
    then.output[0].name = "x"
    model = make_model([node("If", ["c"], ["y"], then_branch=then, else_branch=then)], {"x": X}, ["y"],
                       {"c": np.array(True)})  # fmt: skip
    with pytest.raises(InvalidModelError, match="defines 'x' a second time"):
        read_onnx(model.SerializeToString())
    then = branch("Tanh", "t")
    then.initializer.append(helper.make_tensor("left", TensorProto.FLOAT, [1], [0.0]))
    model = make_model([node("If", ["c"], ["y"], then_branch=then, else_branch=then)], {"x": X}, ["y"],
                       {"c": np.array(True)})  # fmt: skip
    with pytest.raises(UnreadTensorsError, match="left"):
        read_onnx(model.SerializeToString())
    assert read_onnx(model.SerializeToString(), allow_unread=True).nodes


def test_bodies_nested_too_deeply():
    body = branch("Tanh", "t0")
    for depth in range(1, 31):
        inner = node("If", ["c"], [f"t{depth}"], then_branch=body, else_branch=branch("Tanh", f"e{depth}"))
        body = helper.make_graph([inner], f"g{depth}", [], [info(f"t{depth}")])
    model = make_model([node("If", ["c"], ["y"], then_branch=body, else_branch=branch("Tanh", "e"))], {"x": X}, ["y"],
                       {"c": np.array(True)})  # fmt: skip
    data = model.SerializeToString()
    try:
        assert len(read_onnx(data).nodes) == 1
    except FastGRUError:
        pass


def test_functions_with_control_flow_are_inlined():
    then = helper.make_graph([node("Mul", ["a", "a"], ["m"])], "then", [], [info("m")])
    other = helper.make_graph([node("Tanh", ["a"], ["o"])], "else", [], [info("o")])
    inner = [
        node("Constant", [], ["yes"], value=helper.make_tensor("v", TensorProto.BOOL, [], [True])),
        node("If", ["yes"], ["b"], then_branch=then, else_branch=other),
    ]
    function = helper.make_function("local", "Square", ["a"], ["b"], inner, [helper.make_opsetid("", 18)])
    nodes = [node("Square", ["x"], ["s"], domain="local"), node("Square", ["s"], ["y"], domain="local")]
    model = make_model(nodes, {"x": X}, ["y"], domains=["local"], functions=[function])
    check(model, {"x": X}, ops=("binary",))


@pytest.mark.parametrize(("count", "left"), [(64, {"Gather"}), (65, {"SplitToSequence", "SequenceAt"})])
def test_as_many_as_64_lists_become_tensors(count, left):
    nodes = []
    for i in range(count):
        nodes.append(NodeProto(op_type="SplitToSequence", input=["x"], output=[f"list{i}"]))
        nodes[-1].attribute.add(name="keepdims", type=2, i=0)
        nodes.append(NodeProto(op_type="SequenceAt", input=[f"list{i}", "i"], output=[f"y{i}"]))
    assert {n.op_type for n in without_lists(nodes, ())} == left


SEEDS = [m.SerializeToString() for m in (scan_model(torch_linear), loop_model(torch_linear, counter=True),
                                         if_model([], c=np.array(True)), scan_model(damaged_cell, T=3))]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), st.data())
def test_edited_files_end_in_errors_of_our_tree(seed, data):
    blob = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(blob) - 1))
        if data.draw(st.booleans()):
            blob[at] = data.draw(st.integers(0, 255))
        else:
            del blob[at : at + data.draw(st.integers(1, 40))]
        blob = blob or bytearray(b"\0")
    try:
        read_onnx(bytes(blob), allow_unread=True)
    except FastGRUError:
        pass
