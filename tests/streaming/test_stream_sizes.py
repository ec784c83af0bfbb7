"""Streams of states with free sizes besides the batch: what the frames tell is bound by the first push."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import fastgru
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.streaming import SessionPool, Stream
from fastgru.streaming.state_blob import pack_state

C, F = 2, 3


def conv_gru(dims: list[str | None], state_dims: list[str | None], *, stride: int = 1) -> fastgru.Model:
    """One step of a convolutional GRU: x (N, C, h, w), state (N, F, h / stride, w / stride) -> y, the next state."""
    rng = np.random.default_rng(0)
    init, nodes = [], []

    def conv(name: str, source: str, channels: int, step: int) -> str:
        init.append(numpy_helper.from_array(rng.normal(0, 0.3, (F, channels, 3, 3)).astype("f4"), f"w_{name}"))
        made = {"pads": [1, 1, 1, 1], "strides": [step, step]}
        nodes.append(helper.make_node("Conv", [source, f"w_{name}"], [name], **made))
        return name

    def node(op: str, *inputs: str) -> str:
        nodes.append(helper.make_node(op, list(inputs), [f"{op}_{len(nodes)}"]))
        return f"{op}_{len(nodes) - 1}"

    z = node("Sigmoid", node("Add", conv("zx", "x", C, stride), conv("zh", "s", F, 1)))
    r = node("Sigmoid", node("Add", conv("rx", "x", C, stride), conv("rh", "s", F, 1)))
    n = node("Tanh", node("Add", conv("nx", "x", C, stride), conv("nh", node("Mul", r, "s"), F, 1)))
    kept = node("Mul", z, node("Sub", "s", n))
    nodes.append(helper.make_node("Add", [n, kept], ["s_out"]))
    nodes.append(helper.make_node("Neg", ["s_out"], ["y"]))
    graph = helper.make_graph(
        nodes, "conv_gru",
        [helper.make_tensor_value_info("x", T.FLOAT, dims), helper.make_tensor_value_info("s", T.FLOAT, state_dims)],
        [helper.make_tensor_value_info(name, T.FLOAT, None) for name in ("y", "s_out")], init,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return fastgru.load(model.SerializeToString())


def frames(steps: int = 4, rows: int = 2, height: int = 6, width: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (steps, rows, C, height, width)).astype("f4")


@pytest.mark.parametrize(
    ("dims", "state_dims", "stride"),
    [
        (["N", C, "h", "w"], ["N", F, "h", "w"], 1),
        *(([None, C, None, None], [None, F, None, None], stride) for stride in (1, 2)),
        *((["N", C, "h", "w"], ["N", F, "a", "b"], stride) for stride in (1, 2)),
        *(([2, C, None, None], [2, F, None, None], stride) for stride in (1, 2)),
    ],
)
def test_the_first_push_binds_the_sizes(dims: list, state_dims: list, stride: int) -> None:
    model, x = conv_gru(dims, state_dims, stride=stride), frames()
    stream = model.stream(2, state={"s": "s_out"}) if dims[0] == 2 else model.stream(state={"s": "s_out"})
    with pytest.raises(StateError, match="not known before the first push or set_state"):
        _ = stream.state
    stream.reset()
    state = np.zeros((2, F, -(-6 // stride), -(-5 // stride)), np.float32)
    for frame in x:
        wanted = model.run({"x": frame, "s": state})
        np.testing.assert_array_equal(stream.push(frame), wanted["y"])
        state = wanted["s_out"]
    assert stream.state["s"].shape == state.shape
    np.testing.assert_array_equal(stream.state["s"], state)
    before = stream.state["s"]
    with pytest.raises((ShapeError, StateError)):
        stream.push(frames(1, 2, 8, 8)[0])
    np.testing.assert_array_equal(stream.state["s"], before)
    other = model.stream(state={"s": "s_out"})
    other.load_state(stream.save_state())
    np.testing.assert_array_equal(other.push(x[0]), stream.push(x[0]))


def test_a_state_that_is_given_binds_the_sizes() -> None:
    model, x = conv_gru([None, C, None, None], [None, F, None, None]), frames(1)[0]
    state = np.random.default_rng(2).normal(0, 1, (2, F, 6, 5)).astype("f4")
    stream = model.stream(state={"s": "s_out"})
    for wrong in (state[0], state[:, :2]):
        with pytest.raises(ShapeError, match="expected float32"):
            stream.set_state({"s": wrong})
    fork = stream.fork()
    stream.set_state({"s": state})
    np.testing.assert_array_equal(stream.state["s"], state)
    np.testing.assert_array_equal(stream.push(x), model.run({"x": x, "s": state})["y"])
    np.testing.assert_array_equal(fork.push(x), model.run({"x": x, "s": np.zeros_like(state)})["y"])


def test_sizes_that_cannot_be_told_are_asked_for() -> None:
    model = conv_gru(["N", C, "h", "w"], ["N", F, "h", "w"])
    for batch_size, rows in ((4, 2), (F, 1)):  # the channels are no rows
        with pytest.raises(ShapeError, match=f"batch_size is {batch_size}"):
            model.stream(batch_size, state={"s": "s_out"}).push(frames(1, rows)[0])
    with pytest.raises(UnsupportedModelError, match="keep a stream for each session"):
        SessionPool(model, 4, state={"s": "s_out"}, batch_axes={"s": 0, "x": 0})
    stream = model.stream(3, state={"s": "s_out"}, batch_axes={"s": 0})
    with pytest.raises(StateError, match=r"do not follow.*none fit"):
        stream.push(frames(1)[0])
    assert stream.push(frames(1, 3)[0]).shape == (3, F, 6, 5)


def model_of(
    nodes: list[onnx.NodeProto], shapes: dict[str, list], outputs: list[str], init: dict[str, np.ndarray]
) -> fastgru.Model:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, T.FLOAT, dims) for name, dims in shapes.items()],
        [helper.make_tensor_value_info(name, T.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in init.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return fastgru.load(made.SerializeToString())


@pytest.mark.parametrize("size", [(6, 4), (7, 5), (2, 2)])
def test_states_of_sizes_that_depend_on_each_other(size: tuple[int, int]) -> None:
    nodes = [
        helper.make_node("Add", ["x", "s"], ["a"]),
        helper.make_node("Tanh", ["a"], ["s_out"]),
        helper.make_node("MaxPool", ["s_out"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        helper.make_node("Add", ["p", "r"], ["b"]),
        helper.make_node("Tanh", ["b"], ["r_out"]),
        helper.make_node("Neg", ["r_out"], ["y"]),
    ]
    free = [None, 2, None, None]
    model = model_of(nodes, {"x": free, "s": free, "r": free}, ["y", "s_out", "r_out"], {})
    stream = model.stream(state={"s": "s_out", "r": "r_out"})
    x = np.random.default_rng(0).normal(0, 1, (3, 2, *size)).astype("f4")
    state = {"s": np.zeros_like(x), "r": np.zeros((3, 2, -(-size[0] // 2), -(-size[1] // 2)), np.float32)}
    for _ in range(2):
        wanted = model.run({"x": x, **state})
        np.testing.assert_array_equal(stream.push(x), wanted["y"])
        state = {"s": wanted["s_out"], "r": wanted["r_out"]}


@pytest.mark.parametrize("steps", [1, 4])
def test_a_size_of_which_the_model_takes_any_is_asked_for(steps: int) -> None:
    nodes = [
        helper.make_node("Concat", ["s", "x"], ["c"], axis=2),
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "two"], ["t"]),
        helper.make_node("Slice", ["c", "t", "end", "two"], ["s_out"]),
        helper.make_node("ReduceSum", ["c", "two"], ["y"], keepdims=0),
    ]
    init = {"two": np.array([2]), "end": np.array([1 << 40])}
    model = model_of(nodes, {"x": [None, 2, None], "s": [None, 2, None]}, ["y", "s_out"], init)
    stream = model.stream(state={"s": "s_out"})
    x = np.ones((1, 2, steps), np.float32)
    with pytest.raises(StateError, match=r"do not follow.*and others fit: give the state with set_state"):
        stream.push(x)
    stream.set_state({"s": np.ones((1, 2, 3), np.float32)})
    np.testing.assert_array_equal(stream.push(x), [[3 + steps] * 2])


def test_a_first_push_that_fails_binds_nothing() -> None:
    model, x = conv_gru([None, C, None, None], [None, F, None, None]), frames()
    stream = model.stream(state={"s": "s_out"})
    for wrong in (
        lambda: stream.push(x[0], out=np.empty(3, np.float32)),
        lambda: stream.push(x[0].astype("i8")),
        lambda: stream.push(x[0], x[0]),
    ):
        with pytest.raises(ShapeError):
            wrong()
        assert stream.state_shapes == {"s": (None, F, None, None)}
    assert stream.push(frames(1, 1, 8, 9)[0]).shape == (1, F, 8, 9)
    other = model.stream(state={"s": "s_out"})
    blob = other.fork()
    blob.push(x[0])
    saved = pack_state({**blob.state, "more": np.zeros(1, np.float32)}, model.fingerprint)
    with pytest.raises(StateError, match="saved state"):
        other.load_state(saved)
    assert other.state_shapes == {"s": (None, F, None, None)}


def test_threads_that_race_for_the_first_push_do_not_lose_a_state() -> None:
    model, x = conv_gru([None, C, None, None], [None, F, None, None]), frames()
    for _ in range(20):
        stream, start, pushed = model.stream(state={"s": "s_out"}), threading.Barrier(3), []

        def push(stream: Stream = stream, start: threading.Barrier = start, pushed: list = pushed) -> None:
            start.wait()
            with contextlib.suppress(StateError):
                pushed.append(stream.push(x[0]))

        threads = [threading.Thread(target=push) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alone = model.stream(state={"s": "s_out"})
        for _ in pushed:
            alone.push(x[0])
        np.testing.assert_array_equal(stream.state["s"], alone.state["s"])
