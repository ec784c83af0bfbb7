"""Rows of a batched stream, several arrays without a copy, and a state that goes to another process."""

from __future__ import annotations

import gc
import mmap
import subprocess
import sys
import textwrap
import tracemalloc
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from slowness import within

from fastgru import GRU, Gate, Linear, Model, Sequential
from fastgru.errors import ShapeError, StateError
from fastgru.graph import Graph, Node, TensorSpec

T, N, I, H = 12, 4, 8, 8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def gru(seed: int = 0) -> GRU:
    gate = [Gate(normal(H, I, seed=10 * seed + k), normal(H, H, seed=10 * seed + k + 3)) for k in range(3)]
    return GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])


def stack(precision: str = "float32") -> Model:
    net = Sequential(gru(), gru(1), Linear(normal(3, H)))
    return Model(net.to_graph(initial_state=True), precision=precision)


def counting(state_shape: tuple[int | None, ...] = (None, None), dims: tuple[str, ...] = ()) -> Model:
    """y = x + s, and that is the next state as well; and a second of each, so that a frame is two arrays."""
    free = TensorSpec("x", "float32", (None, None), ("rows", "wide")), TensorSpec("x2", "float32", (None, None))
    states = TensorSpec("s", "float32", state_shape, dims), TensorSpec("s2", "float32", state_shape, dims)
    nodes = (
        Node("binary", ("x", "s"), ("s_out",), {"kind": "add"}),
        Node("binary", ("x2", "s2"), ("s2_out",), {"kind": "sub"}),
        Node("unary", ("s_out",), ("y",), {"kind": "neg"}),
        Node("unary", ("s2_out",), ("y2",), {"kind": "neg"}),
    )
    outputs = tuple(TensorSpec(name, "float32", None) for name in ("y", "s_out", "y2", "s2_out"))
    return Model(Graph((*free, *states), outputs, nodes, {}, {"s": "s_out", "s2": "s2_out"}))


@pytest.mark.parametrize("steps", [4, 5])  # the state lies in one set of arrays or in the other
def test_rows_are_reset_alone(steps):
    x = normal(T, N, I)
    wanted = stack().stream(N).push(x)
    fresh = stack().stream(N).push(x[steps:])
    stream = stack().stream(N)
    for frame in np.split(x[:steps], steps):
        stream.push(frame)
    stream.reset(rows=[2, 0])
    got = stream.push(x[steps:])
    for row in range(N):
        np.testing.assert_array_equal(got[:, row], (fresh if row in (0, 2) else wanted[steps:])[:, row])
    stream.reset(rows=[])
    stream.reset(rows=np.arange(N))
    assert not any(a.any() for a in stream.state.values())


def test_rows_that_are_not_there():
    stream = stack().stream(N)
    stream.push(normal(1, N, I))
    before = stream.state
    for rows in ([N], [-1], [0.5], 0, [True], ["a"], [[0]]):
        with pytest.raises(ShapeError, match="rows"):
            stream.reset(rows=rows)
    for name, array in before.items():
        np.testing.assert_array_equal(stream.state[name], array)


def test_the_batch_axis_is_told_or_given_or_asked_for():
    ones = np.ones((2, 2), np.float32)
    with pytest.raises(StateError, match=r"'s'.*is not known.*batch_axes="):
        counting().stream(2).reset(rows=[0])
    for axis in (0, 1, -1):
        stream = counting().stream(2, batch_axes={"s": axis, "s2": axis})
        stream.push(ones, ones)
        stream.reset(rows=[1])
        np.testing.assert_array_equal(stream.state["s"], [[1, 1], [0, 0]] if axis == 0 else [[1, 0], [1, 0]])
    stream = counting((2, None)).stream(2)
    stream.push(ones, ones)
    stream.reset(rows=[0])
    np.testing.assert_array_equal(stream.state["s"], [[0, 1], [0, 1]])
    with pytest.raises(StateError, match="different numbers of rows"):
        counting((2, 3)).stream(2, batch_axes={"s": 0, "s2": 1}).reset(rows=[0])
    for wrong in ({"s": 2}, {"t": 0}, {"s": "0"}, {"s": True}):
        with pytest.raises(StateError, match="batch_axes"):
            counting().stream(2, batch_axes=wrong)


def test_a_row_is_saved_and_taken_up_alone():
    x, model = normal(T, N, I), stack()
    wanted = model.stream(N).push(x)
    stream = model.stream(N)
    stream.push(x[:5])
    blob = stream.save_state(row=2)
    single = model.stream(1)
    single.load_state(blob)
    np.testing.assert_array_equal(single.push(x[5:, 2:3]), wanted[5:, 2:3])

    other = model.stream(N)
    other.load_state(blob, row=1)
    np.testing.assert_array_equal(other.push(np.repeat(x[5:, 2:3], N, axis=1))[:, 1], wanted[5:, 2])
    before = other.state
    for wrong in (stream.save_state(), stack("float64").stream(N).save_state(row=0), blob[:-1], b"", None):
        with pytest.raises(StateError, match="saved state"):
            other.load_state(wrong, row=0)
    for row in (N, -1, 0.5):
        with pytest.raises(ShapeError, match="rows"):
            other.load_state(blob, row=row)
    for name, array in before.items():
        np.testing.assert_array_equal(other.state[name], array)


def test_every_byte_of_a_saved_state_counts():
    stream = counting((2, 3)).stream()
    ones = np.ones((2, 3), np.float32)
    stream.push(ones, ones)
    blob, before = stream.save_state(), stream.state
    for at in range(len(blob)):
        for wrong in (blob[:at], blob[:at] + bytes([blob[at] ^ 0x10]) + blob[at + 1 :]):
            with pytest.raises(StateError, match="saved state"):
                stream.load_state(wrong)
    for name, array in before.items():
        np.testing.assert_array_equal(stream.state[name], array)


def test_a_state_is_taken_up_in_another_process(tmp_path: Path):
    model, x = stack(), normal(T, N, I)
    model.save(tmp_path / "model.safetensors")
    stream = model.stream(N)
    stream.push(x[:5])
    (tmp_path / "state").write_bytes(stream.save_state())
    np.save(tmp_path / "rest.npy", x[5:])
    script = f"""
        import fastgru, numpy, pathlib
        folder = pathlib.Path({str(tmp_path)!r})
        stream = fastgru.load(folder / "model.safetensors").stream({N})
        stream.load_state((folder / "state").read_bytes())
        frames = numpy.load(folder / "rest.npy")
        numpy.save(folder / "y.npy", numpy.concatenate([stream.push(frame[None]) for frame in frames]))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=within(240))
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), stream.push(x[5:]))


def test_several_arrays_go_in_and_out_without_a_copy(monkeypatch):
    stream = counting((2, 3)).stream()
    first = normal(2, 3), normal(2, 3, seed=1)
    stream.push(*first)
    monkeypatch.setattr(stream, "_push", None)  # what a push would do that is not direct
    sums = list(first)
    for k in range(4):
        x, x2 = normal(2, 3, seed=k + 2), normal(2, 3, seed=k + 9)
        sums = [sums[0] + x, x2 - sums[1]]
        out = tuple(np.empty((2, 3), np.float32) for _ in range(2)) if k % 2 else None
        got = stream.push(x, x2, out=out)
        assert out is None or got is out
        np.testing.assert_array_equal(got[0], -sums[0])
        np.testing.assert_array_equal(got[1], -sums[1])


def test_outputs_over_frames_and_over_one_another():
    x, x2 = normal(2, 3), normal(2, 3, seed=1)
    for warm in (False, True):
        stream = counting((2, 3)).stream()
        if warm:
            stream.push(x, x2)
            stream.reset()
        a, b = x.copy(), x2.copy()
        y, y2 = stream.push(a, b, out=(b, a))
        np.testing.assert_array_equal(y, -x)
        np.testing.assert_array_equal(y2, -x2)
        assert (y is b, y2 is a) == (True, True)
        room = np.empty((3, 3), np.float32)
        before = stream.state
        for wrong in ((room[:2], room[1:]), (a,), [a, b], a, (a, b, a)):
            with pytest.raises(ShapeError, match="out"):
                stream.push(x, x2, out=wrong)
        for wrong in ((x,), (x, x2, x)):
            with pytest.raises(ShapeError, match="push"):
                stream.push(*wrong)
        for name, array in before.items():
            np.testing.assert_array_equal(stream.state[name], array)


@pytest.mark.parametrize("arrays", [1, 2])
def test_a_push_allocates_nothing(arrays):
    stream = stack().stream(1) if arrays == 1 else counting((2, 3)).stream()
    frames = (normal(1, 1, I),) if arrays == 1 else (normal(2, 3), normal(2, 3, seed=1))
    out = stream.push(*frames)
    push, nothing = stream.push, lambda *frames, out: None

    def kept_and_passing(call, count):
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        for _ in repeat(None, count):
            call(*frames, out=out)
        after, peak = tracemalloc.get_traced_memory()
        return after - before, peak - before

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for call in (nothing, push):
            kept_and_passing(call, 100)
        idle = kept_and_passing(nothing, 10_000)  # the caller's own tuple and loop
        assert kept_and_passing(push, 10_000) <= idle
    finally:
        tracemalloc.stop()
        gc.enable()


def resident_bytes() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * mmap.PAGESIZE


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="/proc tells the resident memory")
def test_memory_does_not_grow_over_a_million_frames():
    stream = stack().stream(1)
    x = normal(1, 1, I)
    for _ in range(10_000):
        stream.push(x)
    before = resident_bytes()
    for _ in repeat(None, 1_000_000):
        stream.push(x)
    assert resident_bytes() - before < 1 << 20
