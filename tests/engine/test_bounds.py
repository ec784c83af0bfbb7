"""A small file makes a small plan: memory, instructions and sizes are bounded, and nothing in them is rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgru.engine import Executable, room
from fastgru.engine.arena import most_alive, place
from fastgru.engine.buffers import Buffer, View, contiguous_strides
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.passes import fold_constants, folding
from fastgru.engine.precision import PrecisionPlan
from fastgru.errors import ShapeError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.kernels.operands.movement import COPY, MAX_RANK
from fastgru.reference import run_graph


def chain(nodes: int, op: str = "concat", **attrs: object) -> Graph:
    """a, then op(a, a), op of that with itself, and so on."""
    steps = [Node(op, (f"x{i}", f"x{i}"), (f"x{i + 1}",), attrs) for i in range(nodes)]
    spec = TensorSpec("x0", "float32", (None, 2))
    return Graph((spec,), (TensorSpec(f"x{nodes}", "float32", None),), tuple(steps))


def test_a_concat_of_a_concat_with_itself_takes_few_copies_each() -> None:
    lengths = [len(Executable(chain(n, axis=0)).program({"x0": (1, 2)}).labels) for n in (8, 16, 24)]
    assert lengths[2] - lengths[1] <= lengths[1] - lengths[0] + 64
    assert lengths[2] < 24 * 32
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    graph = chain(11, axis=0)
    np.testing.assert_array_equal(Executable(graph).run({"x0": x})["x11"], run_graph(graph, {"x0": x})["x11"])


def test_a_concat_that_fills_the_memory_is_refused() -> None:
    with pytest.raises(ShapeError, match="expected at most"):
        Executable(chain(40, axis=0)).program({"x0": (1, 2)})


def test_tensors_that_fit_one_by_one_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    x = TensorSpec("x", "float32", (4, 4))
    wide = [Node("tile", ("x", "r"), (f"y{i}",)) for i in range(8)]
    specs = tuple(TensorSpec(f"y{i}", "float32", None) for i in range(8))
    graph = Graph((x,), specs, tuple(wide), {"r": np.array([64, 64])})
    executable = Executable(graph)
    monkeypatch.setattr(room, "_GROWTH", 1)
    monkeypatch.setattr(room, "_ROOM_BYTES", 2_200_000)
    executable.program({"x": (4, 4)})
    monkeypatch.setattr(room, "_ROOM_BYTES", 2_000_000)
    with pytest.raises(ShapeError, match=r"the plan takes [0-9]{7} bytes, expected at most 2000000"):
        Executable(graph).program({"x": (4, 4)})


def test_tensors_that_share_a_place_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [Node("softmax", (f"x{i}",), (f"x{i + 1}",), {"axis": 1}) for i in range(50)]
    spec = TensorSpec("x0", "float32", (100, 10))
    graph = Graph((spec,), (TensorSpec("x50", "float32", None),), tuple(nodes))
    monkeypatch.setattr(room, "_GROWTH", 4)
    monkeypatch.setattr(room, "_ROOM_BYTES", 0)
    Executable(graph).program({"x0": (100, 10)})


def test_values_known_to_the_plan_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1000 elements each, from the shape of x."""
    nodes = [Node("shape", ("x",), ("s",), {})]
    nodes += [Node("constant_of_shape", ("s",), (f"c{i}",), {"value": i, "dtype": "float32"}) for i in range(20)]
    nodes += [Node("binary", ("x", f"c{i}"), (f"y{i}",), {"kind": "add"}) for i in range(20)]
    specs = tuple(TensorSpec(f"y{i}", "float32", None) for i in range(20))
    graph = Graph((TensorSpec("x", "float32", (None,)),), specs, tuple(nodes))
    monkeypatch.setattr(room, "_GROWTH", 4)
    monkeypatch.setattr(room, "_ROOM_BYTES", 1 << 20)
    Executable(graph).program({"x": (1000,)})
    monkeypatch.setattr(room, "_ROOM_BYTES", 100_000)
    with pytest.raises(ShapeError, match=r"'c12': .* expected at most 500"):
        Executable(graph).program({"x": (1000,)})


def test_what_is_folded_is_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [Node("tile", ("c", "r"), (f"t{i}",)) for i in range(10)]
    outputs = tuple(TensorSpec(f"t{i}", "float32", None) for i in range(10))
    graph = Graph((), outputs, tuple(nodes), {"c": np.ones(10, np.float32), "r": np.array([10])})
    assert not fold_constants(graph).nodes
    monkeypatch.setattr(folding, "_MAX_FOLDED_IN_ALL", 350)
    assert len(fold_constants(graph).nodes) == 7
    monkeypatch.setattr(folding, "_GROWTH", 100)  # times 11 elements
    assert not fold_constants(graph).nodes


@pytest.mark.parametrize("shape", [(2.0, 3), (2, 2.5), (-1, 3), ("2",), (None,)])
def test_sizes_are_integers(shape: tuple[object, ...]) -> None:
    b = PlanBuilder(PrecisionPlan("float32"), {})
    buffer = Buffer(1000, "arena")
    for make in (
        lambda: b.new(shape),  # type: ignore[arg-type]
        lambda: b.input("x", shape, "float32"),  # type: ignore[arg-type]
        lambda: View(buffer, 0, shape, contiguous_strides((1,) * len(shape)), "float32"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ShapeError):
            make()
    assert b.new((np.int64(2), True)).shape == (2, 1)
    assert all(type(n) is int for n in b.new((np.int64(2), np.uint8(3))).shape)


def copy(builder: PlanBuilder, source: View, target: View, shape: list[Any], strides: list[int]) -> None:
    names = {"source": source, "target": target, "shape": shape, "source_strides": strides, "target_strides": strides}
    builder.emit("copy", "int32", COPY, names)


def test_words_and_steps_are_integers() -> None:
    b = PlanBuilder(PrecisionPlan("float32"), {})
    x = b.input("x", (4, 4), "float32")
    with pytest.raises(ShapeError, match="expected integers"):
        copy(b, x, b.new((4, 4)), [1, 1, 1, 1, 4, 4.0], [1] * MAX_RANK)
    for offset, strides in ((0.0, (4, 1)), (0, (4.5, 1)), (0, (4,))):
        with pytest.raises(ShapeError):
            View(x.buffer, offset, (4, 4), strides, "float32")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "inside"),
    [
        (0, (4, 4), (4, 1), True), (4, (4, 4), (4, 1), False), (-4, (4, 4), (4, 1), False),
        (60, (4, 4), (-4, -1), True), (56, (4, 4), (-4, -1), False),
        (0, (100,), (0,), True), (0, (4, 0), (100, 1), True), (64, (), (), False),
    ],
)  # fmt: skip
def test_a_view_beyond_its_buffer_is_found_in_the_end(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...], inside: bool
) -> None:
    b = PlanBuilder(PrecisionPlan("float32"), {})
    x = b.input("x", (4, 4), "float32")
    view = View(x.buffer, offset, shape, strides, "float32")
    assert view.inside == inside
    y = b.new((16,))
    copy(b, view, y, [1] * MAX_RANK, [0] * MAX_RANK)
    if inside:
        b.finish({"x": x}, {"y": y})
    else:
        with pytest.raises(ShapeError, match="copy_int32 reaches beyond a tensor"):
            b.finish({"x": x}, {"y": y})


def test_no_placement_takes_less_than_what_is_alive() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        buffers = []
        for _ in range(30):
            first = int(rng.integers(0, 20))
            buffers.append(
                Buffer(int(rng.integers(1, 1000)), "arena", first=first, last=first + int(rng.integers(0, 6)))
            )
        alive = max(sum(b.nbytes for b in buffers if b.first is not None and b.first <= t <= b.last) for t in range(30))
        assert most_alive(buffers) == alive <= place(buffers)
    assert most_alive([Buffer(8, "arena")]) == 0
