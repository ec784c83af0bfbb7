"""Random valid ONNX graphs, made node by node: a pool of values whose numbers are known, two sizes a free dimension.

Every value is held twice, for two sizes of the free dimensions; an oracle computes each node as it is added, so that
generators can ask for values in a domain, and every value of the graph comes with what it must be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from graph_oracle import RUNTIME_OPSET, NoAnswerError, evaluate_node
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from fastgru.importers.onnx import operators
from fastgru.importers.onnx.structure import outer_reads

__all__ = ["Builder", "RejectError", "Size", "Value"]

Array = NDArray[Any]
Size = tuple[int, int]

OPERATORS = {operator.name: operator for operator in operators()}
FIXED = (1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 16, 17)
FREE = {"N": ((2, 3), (1, 4), (3, 1)), "T": ((6, 5), (5, 9), (4, 7))}
MOST_ELEMENTS = 4096
MOST = 1e4
# A window that is longer than what it slides over is an error here, and nothing in ONNX Runtime.
WINDOWS = {"AveragePool", "Conv", "ConvTranspose", "MaxPool"}
# Outputs of integers and bools that do not jump when a float input moves by a rounding error.
STEADY = {"IsInf", "IsNaN", "NonZero", "Shape", "Size"}


class RejectError(Exception):
    """What a generator wanted to add cannot be: the graph stays as it was."""


@dataclass(frozen=True, eq=False)
class Value:
    """arrays: for the two sizes. exact: every right implementation has the same bits. constant: an initializer."""

    name: str
    arrays: tuple[Array, Array]
    exact: bool
    constant: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.arrays[0].dtype

    @property
    def rank(self) -> int:
        return self.arrays[0].ndim

    @property
    def sizes(self) -> tuple[Size, ...]:
        return tuple(zip(self.arrays[0].shape, self.arrays[1].shape, strict=True))

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def fixed(self) -> bool:
        return self.arrays[0].shape == self.arrays[1].shape

    def fixed_axes(self) -> list[int]:
        return [i for i, (a, b) in enumerate(self.sizes) if a == b]

    def within(self, low: float, high: float) -> bool:
        return all(a.size == 0 or (a.min() >= low and a.max() <= high) for a in self.arrays)


class Builder:
    """rng: every choice comes from it; opset: of the model."""

    def __init__(self, rng: random.Random, opset: int) -> None:
        self.rng = rng
        self.opset = opset
        self.numbers = np.random.default_rng(rng.getrandbits(32))
        self.float = np.dtype(np.float64 if rng.random() < 0.06 else np.float32)
        # The file will be of float16, and its numbers are: a model computes in float32 whatever the file holds.
        self.half = self.float == np.float32 and rng.random() < 0.12
        self.free: dict[str, Size] = {name: rng.choice(sizes) for name, sizes in FREE.items()}
        self.pool: list[Value] = []
        self.inputs: list[Value] = []
        self.constants: dict[str, Array] = {}
        self.nodes: list[Any] = []
        self.used: set[str] = set()
        self.rejections: list[str] = []
        self._count = 0

    # Choices

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, of: Sequence[Any]) -> Any:
        if not of:
            raise RejectError("nothing to choose from")
        return of[self.rng.randrange(len(of))]

    def integer(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)

    def axis(self, axes: int | Sequence[int], rank: int) -> int:
        """One of the axes, some of the time counted from the end (where the opset lets it, from 11 on)."""
        axis = int(self.pick(range(axes) if isinstance(axes, int) else axes))
        return axis - rank if self.opset >= 11 and self.chance(0.4) else axis

    def has(self, op: str) -> bool:
        return OPERATORS[op].version_for(self.opset) > 0

    def version(self, op: str) -> int:
        return OPERATORS[op].version_for(self.opset)

    # Values

    def size(self) -> Size:
        if self.chance(0.25):
            return self.free[self.pick(sorted(self.free))]
        size = 0 if self.chance(0.01) else int(self.pick(FIXED))
        return size, size

    def name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def filled(self, shape: tuple[int, ...], dtype: np.dtype[Any], low: float, high: float, grid: bool) -> Array:
        """Random numbers; on a grid of eighths where they must be exact after a few sums and products."""
        if dtype.kind == "b":
            return np.asarray(self.numbers.random(shape) < 0.5)
        if dtype.kind in "iu":
            return np.asarray(self.numbers.integers(int(np.ceil(low)), int(high) + 1, shape)).astype(dtype)
        if grid:
            return np.asarray(self.numbers.integers(int(np.ceil(8 * low)), int(8 * high) + 1, shape) / 8).astype(dtype)
        return np.asarray(self.numbers.uniform(low, high, shape)).astype(dtype)

    def fresh(
        self,
        sizes: Sequence[Size],
        dtype: Any = None,
        low: float = -2.0,
        high: float = 2.0,
        grid: bool | None = None,
        constant: bool | None = None,
    ) -> Value:
        """A new input of the graph, or a constant where no size is free."""
        kind = self.float if dtype is None else np.dtype(dtype)
        if kind.kind == "u":
            low = max(low, 0)
        free = any(a != b for a, b in sizes)
        constant = not free and (self.chance(0.35) if constant is None else constant)
        grid = self.chance(0.5) if grid is None else grid
        shapes = (tuple(a for a, _ in sizes), tuple(b for _, b in sizes))
        if max(map(np.prod, shapes), default=0) > MOST_ELEMENTS:
            raise RejectError("too large an input")
        if constant:
            return self.constant(self.filled(shapes[0], kind, low, high, grid))
        return self.given(*(self.filled(shape, kind, low, high, grid) for shape in shapes))

    def given(self, first: Array, second: Array) -> Value:
        """A new input of the graph."""
        if len(self.inputs) >= 6:
            raise RejectError("inputs enough")
        first, second = self._as_stored(first), self._as_stored(second)
        value = Value(self.name(), (first, second), True)
        self.inputs.append(value)
        self.pool.append(value)
        return value

    def constant(self, array: Any, dtype: Any = None) -> Value:
        """An initializer, or what a node Constant gives."""
        array = self._as_stored(np.ascontiguousarray(np.asarray(array, dtype)).reshape(np.shape(array)))
        name = self.name()
        value = Value(name, (array, array), True, True)
        if self.chance(0.2):
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        else:
            self.constants[name] = array
        return value

    def _as_stored(self, array: Array) -> Array:
        return array.astype(np.float16).astype(np.float32) if self.half and array.dtype == np.float32 else array

    def ints(self, numbers: Any, dtype: Any = np.int64) -> Value:
        return self.constant(np.array(numbers, dtype).reshape(np.shape(numbers)))

    def value(
        self,
        kind: str = "f",
        ranks: tuple[int, int] = (0, 5),
        *,
        low: float | None = None,
        high: float | None = None,
        exact: bool = False,
        where: Callable[[Value], bool] | None = None,
        sizes: Sequence[Size] | None = None,
        reuse: float = 0.8,
    ) -> Value:
        """A value of the pool that fits, else a new one.

        kind: letters of which one holds: f (the graph's float type), i (int64, int32), b (bool), or a dtype's name.
        """
        bounded = low is not None or high is not None
        lower, upper = -2.0 if low is None else low, 2.0 if high is None else high
        kinds = [self.float] if kind == "f" else KINDS.get(kind) or [np.dtype(kind)]

        def fits(v: Value) -> bool:
            return (
                v.dtype in kinds
                and ranks[0] <= v.rank <= ranks[1]
                and (v.exact or not exact)
                and (not bounded or v.within(-MOST if low is None else low, MOST if high is None else high))
                and (where is None or where(v))
                and (sizes is None or v.sizes == tuple(sizes))
            )

        if self.chance(reuse):
            found = [v for v in self.pool if fits(v)]
            if found:
                return found[max(self.rng.randrange(len(found)), self.rng.randrange(len(found)))]
        for _ in range(12):
            made = tuple(sizes) if sizes is not None else tuple(self.size() for _ in range(self.integer(*ranks)))
            if sizes is None and where is not None:
                shapes = tuple(tuple(s[k] for s in made) for k in (0, 1))
                probe = Value("", (np.zeros(shapes[0], kinds[0]), np.zeros(shapes[1], kinds[0])), True)
                if not where(probe):
                    continue
            return self.fresh(made, self.pick(kinds), lower, upper, grid=True if exact else None)
        raise RejectError("no such value")

    def other(self, x: Value, **bounds: Any) -> Value:
        """An operand of x's type that broadcasts with it: of the pool, or a new one."""
        exact = bounds.pop("exact", False)
        low, high = bounds.get("low", -MOST), bounds.get("high", MOST)
        found = [
            v
            for v in self.pool
            if v.dtype == x.dtype and broadcasts(x.sizes, v.sizes) and (v.exact or not exact) and v.within(low, high)
        ]
        if found and self.chance(0.6):
            return self.pick(found)
        sizes = [(1, 1) if self.chance(0.25) else size for size in x.sizes]
        sizes = sizes[self.integer(0, len(sizes)) if self.chance(0.4) else 0 :]
        grid = True if exact else None
        return self.fresh(sizes, x.dtype, bounds.get("low", -2), bounds.get("high", 2), grid)

    # Nodes

    def add(
        self,
        op: str,
        inputs: Sequence[Value | None],
        outputs: int = 1,
        exact: str = "no",
        captured: Sequence[Value] = (),
        **attrs: Any,
    ) -> Any:
        """Append a node, computed by the oracle; its values join the pool. One value, or a tuple where outputs > 1.

        captured: what bodies of it read of the graph around it.

        exact: "moves" where every output element is one of the inputs' or none; "ring" for sums and products, which
        are exact while few bits are used; "no". Raises `RejectError` where the node is not valid or goes out of hand.
        """
        if not self.has(op):
            raise RejectError(f"{op} is not in opset {self.opset}")
        operands = list(inputs)
        while operands and operands[-1] is None:
            operands.pop()
        names = [self.name() for _ in range(outputs)]
        given = {key: value for key, value in attrs.items() if value is not None}
        node = helper.make_node(op, ["" if v is None else v.name for v in operands], names, **given)
        present = {v.name: v for v in (*operands, *captured) if v is not None}
        table = OPERATORS[op]
        if self.half and "own definition" in table.limits:
            raise RejectError(f"{op}: constants of its definition, which float16 rounds")
        try:
            results = evaluate_node(
                node,
                self.opset,
                table.version_for(self.opset),
                table.version_for(min(self.opset, RUNTIME_OPSET)),
                {v.name: v.arrays[0] for v in present.values() if v.constant},
                [{v.name: v.arrays[k] for v in present.values() if not v.constant} for k in (0, 1)],
            )
        except NoAnswerError as error:
            raise RejectError(str(error)) from None
        made = []
        for name in names:
            first, second = (np.asarray(r[name]) for r in results)
            if self.half and first.dtype.kind == "f" and all(v.constant or not v.is_float for v in present.values()):
                raise RejectError(f"{op}: of constants alone, which the importer carries out in their own float16")
            made.append(self._checked(op, name, first, second, list(present.values()), exact))
        if self.chance(0.3):
            node.name = f"the_{op}_{len(self.nodes)}"
        self.nodes.append(node)
        self.used.update(present)
        self.pool.extend(made)
        return made[0] if outputs == 1 else tuple(made)

    def _checked(self, op: str, name: str, a: Array, b: Array, operands: list[Value], exact: str) -> Value:
        if 0 in a.shape + b.shape and not any(0 in x.shape for v in operands for x in v.arrays) and op in WINDOWS:
            raise RejectError(f"{op}: a window that does not fit, which is refused")
        if a.ndim != b.ndim or a.dtype != b.dtype or max(a.size, b.size) > MOST_ELEMENTS or a.ndim > 6:
            raise RejectError(f"{op}: {a.dtype} {a.shape} and {b.dtype} {b.shape}")
        floats = [v for v in operands if v.is_float]
        sure = all(v.exact for v in floats)
        if a.dtype.kind == "f":
            if not all(np.isfinite(x).all() and (x.size == 0 or np.abs(x).max() <= MOST) for x in (a, b)):
                raise RejectError(f"{op}: out of bounds")
            if exact == "ring":
                sure = sure and all(bool((x * 64 == np.rint(x * 64)).all()) for x in (a, b))
            return Value(name, (a, b), sure and exact != "no")
        if not sure and op not in STEADY:
            raise RejectError(f"{op}: {a.dtype} of inexact numbers")
        if a.dtype.kind in "iu" and any(x.size and np.abs(x.astype(np.float64)).max() > 1 << 30 for x in (a, b)):
            raise RejectError(f"{op}: out of bounds")
        return Value(name, (a, b), True)

    # The whole

    def model(self, outputs: Sequence[Value]) -> ModelProto:
        live = live_names(self.nodes, {v.name for v in outputs})
        nodes = [node for node in self.nodes if any(name in live for name in node.output)]
        read = {name for node in nodes for name in reads_of(node)}
        wanted = {v.name for v in outputs}
        graph = helper.make_graph(
            nodes,
            "random",
            [self._declared(v) for v in self.inputs if v.name in read | wanted],
            [helper.make_tensor_value_info(v.name, helper.np_dtype_to_tensor_dtype(v.dtype), None) for v in outputs],
            [numpy_helper.from_array(a, name) for name, a in self.constants.items() if name in read],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if self.opset < 21 else 10)
        return (halved(model) if self.half else None) or model

    def _declared(self, value: Value) -> Any:
        names = {sizes: name for name, sizes in self.free.items()}
        shape = [a if a == b else names.get((a, b)) for a, b in value.sizes]
        return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)


KINDS = {
    "i": [np.dtype(np.int64), np.dtype(np.int64), np.dtype(np.int32)],
    "I": [np.dtype(np.int64)],
    "b": [np.dtype(np.bool_)],
}


def halved(model: ModelProto) -> ModelProto | None:
    """The model with float16 in the place of float32, None where ONNX has no such nodes."""
    made = ModelProto()
    made.CopyFrom(model)
    for info in (*made.graph.input, *made.graph.output):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = TensorProto.FLOAT16
    attributes = [attribute for node in made.graph.node for attribute in node.attribute]
    for attribute in attributes:
        if attribute.name in ("to", "dtype", "output_datatype") and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
    for tensor in (*made.graph.initializer, *(attribute.t for attribute in attributes if attribute.HasField("t"))):
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    try:
        shape_inference.infer_shapes(made, check_type=True, strict_mode=True)
    except shape_inference.InferenceError:
        return None
    return made


def live_names(nodes: Sequence[Any], wanted: set[str]) -> set[str]:
    """Every value on which the wanted ones depend."""
    live = set(wanted)
    for node in reversed(nodes):
        if any(name in live for name in node.output):
            live.update(reads_of(node))
    return live


def reads_of(node: Any) -> set[str]:
    """What a node reads, and what its bodies read of the graph around it."""
    return {*filter(None, node.input), *outer_reads(node)}


def broadcasts(a: Sequence[Size], b: Sequence[Size]) -> bool:
    one = (1, 1)
    return all(s == t or one in (s, t) for s, t in zip(reversed(a), reversed(b), strict=False))
