"""GRU, LSTM and RNN whose weights are inputs of the graph, or computed from them, against ONNX Runtime."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import fastgru
from fastgru.cli import main
from fastgru.engine.partition import Reweighted, make_runnable
from fastgru.errors import UnsupportedModelError

STEPS, N, I, H = 5, 2, 3, 4
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def arrays(op: str, D: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng, G = np.random.default_rng(seed), GATES[op]
    shapes: dict[str, tuple[int, ...]] = {"x": (STEPS, N, I), "W": (D, G * H, I), "R": (D, G * H, H)}
    shapes |= {"B": (D, 2 * G * H), "initial_h": (D, N, H)}
    shapes |= {"initial_c": (D, N, H), "P": (D, 3 * H)} if op == "LSTM" else {}
    return {name: rng.normal(0, 0.5, shape).astype("f4") for name, shape in shapes.items()}


def model(op: str, feeds: dict[str, np.ndarray], attrs: dict[str, Any], *, missing: tuple[str, ...] = ()) -> bytes:
    order = ["x", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"][: 8 if op == "LSTM" else 6]
    names = [name if name in feeds and name not in missing else "" for name in order]
    outputs = ["y", "h", "c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, names, outputs, hidden_size=H, **attrs)
    kinds = {"i": T.INT32, "f": T.FLOAT}
    inputs = [helper.make_tensor_value_info(n, kinds[feeds[n].dtype.kind], feeds[n].shape) for n in names if n]
    made = [helper.make_tensor_value_info(name, T.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "g", inputs, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8).SerializeToString()


def runtime(data: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {spec.name: feeds[spec.name] for spec in session.get_inputs()})


CASES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "GRU": ("GRU", {}, ()),
    "GRU, no bias, no state": ("GRU", {}, ("B", "initial_h")),
    "GRU, reset after": ("GRU", {"linear_before_reset": 1}, ()),
    "GRU, reverse": ("GRU", {"direction": "reverse"}, ()),
    "GRU, both directions": ("GRU", {"direction": "bidirectional", "linear_before_reset": 1}, ()),
    "GRU, activations": ("GRU", {"activations": ["HardSigmoid", "Relu"]}, ()),
    "GRU, clip": ("GRU", {"clip": 0.3}, ()),
    "LSTM": ("LSTM", {}, ("P",)),
    "LSTM, peepholes": ("LSTM", {}, ()),
    "LSTM, both directions": ("LSTM", {"direction": "bidirectional"}, ()),
    "LSTM, no bias": ("LSTM", {}, ("B", "P", "initial_h", "initial_c")),
    "RNN": ("RNN", {}, ()),
    "RNN, both directions": ("RNN", {"direction": "bidirectional", "activations": ["Relu", "Tanh"]}, ()),
    "RNN, no bias": ("RNN", {}, ("B",)),
}


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_weights_that_come_with_the_call(case: str, lengths: bool, tmp_path: Path) -> None:
    op, attrs, missing = CASES[case]
    D = 2 if attrs.get("direction") == "bidirectional" else 1
    feeds = arrays(op, D)
    if lengths:
        feeds["sequence_lens"] = np.array([STEPS, 2], np.int32)
    data = model(op, feeds, attrs, missing=missing)
    ours = fastgru.load(data)
    assert not ours.reference_nodes
    for seed in (0, 1, 1, 0):  # the same weights again are not packed again, others are
        feeds |= arrays(op, D, seed)
        wanted = runtime(data, feeds)
        got = ours.run({spec.name: feeds[spec.name] for spec in ours.inputs})
        for a, b in zip(got.values(), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert fastgru.verify(data).holds
    path = tmp_path / "written.onnx"
    ours.to_onnx(path)
    given = {spec.name: feeds[spec.name] for spec in ours.inputs}
    for a, b in zip(runtime(path.read_bytes(), given), ours.run(given).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_what_is_computed_from_inputs_is_a_weight_too() -> None:
    feeds = arrays("GRU", 1)
    feeds["Wt"] = np.ascontiguousarray(feeds.pop("W").transpose(0, 2, 1))
    nodes = [
        helper.make_node("Transpose", ["Wt"], ["W"], perm=[0, 2, 1]),
        helper.make_node("GRU", ["x", "W", "R", "B", "", "initial_h"], ["y", "h"], hidden_size=H),
        helper.make_node("ReduceMax", ["R"], ["largest"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, T.FLOAT, a.shape) for n, a in feeds.items()],
        [helper.make_tensor_value_info(name, T.FLOAT, None) for name in ("y", "h", "largest")],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    data = made.SerializeToString()
    ours = fastgru.load(data)
    for a, b in zip(ours.run(feeds).values(), runtime(data, feeds), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    out = {"y": np.empty((STEPS, 1, N, H), np.float32)}
    assert ours.run(feeds, out)["y"] is out["y"]
    with pytest.raises(UnsupportedModelError, match="come with the inputs"):
        _ = ours.weight_precisions
    assert ours.profile(feeds)
    exact = fastgru.load(data, precision="float64").run(feeds)
    np.testing.assert_allclose(ours.run(feeds)["y"], exact["y"], rtol=0, atol=1e-6)


def test_weights_of_calls_that_are_over_are_let_go(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model("GRU", arrays("GRU", 1), {}))
    runnable = make_runnable(fastgru.load_graph(path))
    assert isinstance(runnable, Reweighted)
    for seed in range(3):
        runnable.run(arrays("GRU", 1, seed))
        assert runnable._last is not None
        last = weakref.ref(runnable._last[1])
    runnable.run(arrays("GRU", 1, 9))
    gc.collect()
    assert last() is None
    done = CliRunner().invoke(main, ["inspect", str(path), "--precision", "int8"])
    assert done.exit_code == 0, done.output


def info(name: str, array: np.ndarray | None = None, kind: int = T.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, None if array is None else array.shape)


def gru(name: str, x: str = "x_in", W: str = "W") -> Any:
    return helper.make_node("GRU", [x, W, "R", "B"], ["", name], hidden_size=H)


def summed(name: str) -> list[Any]:
    """x_out, which is x_in and the sum of something."""
    return [
        helper.make_node("ReduceSum", [name], [f"{name}_total"], keepdims=0),
        helper.make_node("Add", ["x_in", f"{name}_total"], ["x_out"]),
    ]


def loop_over(nodes: list[Any], x: np.ndarray, *, carried: str = "x") -> Any:
    """A Loop of n iterations over x, with nodes from x_in to x_out."""
    ends = [info("i", np.array(0), T.INT64), info("go", np.array(0), T.BOOL), info("x_in", x)]
    body = helper.make_graph(
        [*nodes, helper.make_node("Identity", ["go"], ["go_out"])], "body", ends,
        [info("go_out", np.array(0), T.BOOL), info("x_out", x)],
    )  # fmt: skip
    return helper.make_node("Loop", ["n", "", carried], ["y"], body=body)


def branch_on(nodes: list[Any], otherwise: list[Any], x: str) -> list[Any]:
    """x_out: what the nodes make where x sums up to more than 0, else what the others do."""
    bodies = [helper.make_graph(each, f"b{k}", [], [info("h")]) for k, each in enumerate((nodes, otherwise))]
    return [
        helper.make_node("ReduceSum", [x], ["sum"], keepdims=0),
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Greater", ["sum", "zero"], ["above"]),
        helper.make_node("If", ["above"], ["chosen"], then_branch=bodies[0], else_branch=bodies[1]),
    ]


def file_of(
    nodes: list[Any], given: dict[str, np.ndarray], outputs: list[str], constants: dict[str, np.ndarray]
) -> bytes:
    init = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    kinds = {"i": T.INT64, "f": T.FLOAT}
    inputs = [info(n, a, kinds[a.dtype.kind]) for n, a in given.items()]
    graph = helper.make_graph(nodes, "g", inputs, [info(name) for name in outputs], init)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8).SerializeToString()


def bodies(x: np.ndarray) -> dict[str, tuple[list[Any], list[str]]]:
    transposed = [helper.make_node("Transpose", ["W"], ["V"], perm=[0, 1, 2]), gru("h", W="V")]
    plain = [gru("h0"), helper.make_node("Neg", ["h0"], ["h"])]
    chosen = branch_on([gru("h")], plain, "x_in")
    outer = loop_over([gru("k"), *summed("k")], x, carried="x_in")
    outer.output[0] = "inner"
    whole = branch_on([gru("h", "x")], [gru("h1", "x"), helper.make_node("Neg", ["h1"], ["h"])], "x")
    return {
        "loop": ([loop_over([gru("h"), *summed("h")], x)], ["y"]),
        "computed in the loop": ([loop_over([*transposed, *summed("h")], x)], ["y"]),
        "branch": (whole, ["chosen"]),
        "branch in a loop": ([loop_over([*chosen, *summed("chosen")], x)], ["y"]),
        "loop in a loop": ([loop_over([outer, gru("h", "inner"), *summed("h")], x)], ["y"]),
        "no weights alone": (
            [helper.make_node("Neg", ["W"], ["negative"]), loop_over(
                [gru("h"), helper.make_node("ReduceMax", ["W"], ["most"], keepdims=0),
                 helper.make_node("Mul", ["h", "most"], ["m"]), *summed("m")], x,
            )], ["y", "negative"],
        ),
    }  # fmt: skip


@pytest.mark.parametrize("constants", [0, 2])
@pytest.mark.parametrize("case", bodies(np.zeros(1)))
def test_in_loops_and_branches_they_come_with_the_call_too(case: str, constants: int, tmp_path: Path) -> None:
    feeds = {n: a for n, a in arrays("GRU", 1).items() if n in "xWRB"} | {"n": np.array(2)}
    nodes, outputs = bodies(feeds["x"])[case]
    if case == "branch":
        del feeds["n"]
    fixed = {n: feeds[n] for n in ("R", "B")[:constants]}
    data = file_of(nodes, {n: a for n, a in feeds.items() if n not in fixed}, outputs, fixed)
    ours = fastgru.load(data)
    for seed in (0, 1, 1, 0):
        given = {n: a for n, a in arrays("GRU", 1, seed).items() if n in feeds and n not in fixed}
        if "n" in feeds:
            given["n"] = feeds["n"]
        for a, b in zip(ours.run(given).values(), runtime(data, given), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert fastgru.verify(data).holds
    ours.save(tmp_path / "m.safetensors")
    again = fastgru.load(tmp_path / "m.safetensors").run(given)
    assert all((again[name] == array).all() for name, array in ours.run(given).items())


def test_weights_that_a_loop_changes_are_refused_when_the_model_is_read(tmp_path: Path) -> None:
    feeds = {n: a for n, a in arrays("GRU", 1).items() if n in "xWRB"}
    changed = [
        helper.make_node("ReduceMean", ["x_in"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["W", "mean"], ["V"]),
        gru("h", W="V"),
        *summed("h"),
    ]
    path = tmp_path / "m.onnx"
    path.write_bytes(file_of([loop_over(changed, feeds["x"])], feeds | {"n": np.array(2)}, ["y"], {}))
    done = CliRunner().invoke(main, ["inspect", str(path)])
    assert done.exit_code == 1, done.output
    with pytest.raises(UnsupportedModelError, match="compute them before it, or make them constants"):
        fastgru.load(path)


def test_a_stream_takes_the_weights_with_each_push() -> None:
    feeds = arrays("GRU", 1)
    ours = fastgru.load(model("GRU", feeds, {}))
    whole = ours.run(feeds)["y"]
    stream = ours.stream(batch_size=N, state={"initial_h": "h"})
    stream.set_state({"initial_h": feeds["initial_h"]})
    given = [feeds[name] for name in stream.inputs if name != "x"]
    np.testing.assert_array_equal(stream.push(feeds["x"], *given), whole)
    np.testing.assert_array_equal(stream.state["initial_h"], ours.run(feeds)["h"])


def test_sizes_that_the_file_does_not_tell_are_refused() -> None:
    feeds = arrays("GRU", 1)
    info = [helper.make_tensor_value_info(n, T.FLOAT, a.shape) for n, a in feeds.items() if n != "W"]
    info.append(helper.make_tensor_value_info("W", T.FLOAT, [1, None, I]))
    node = helper.make_node("GRU", ["x", "W", "R", "B", "", "initial_h"], ["y", "h"], hidden_size=H)
    made = [helper.make_tensor_value_info(name, T.FLOAT, None) for name in ("y", "h")]
    graph = helper.make_graph([node], "g", info, made)
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8).SerializeToString()
    with pytest.raises(UnsupportedModelError, match=r"input W .*does not tell its sizes"):
        fastgru.load(data)
