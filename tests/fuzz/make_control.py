"""Loops and branches, whose bodies are small graphs over states, slices and what they read of the graph around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_builder import Builder, RejectError, Value
from graph_registry import generates
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

PAIRS = ("Add", "Sub", "Mul")
ONES = ("Tanh", "Sigmoid", "Neg", "Abs")


class Body:
    """Nodes of a body. captured: the values around it that it reads."""

    def __init__(self, b: Builder) -> None:
        self.b, self.nodes, self.captured = b, list[NodeProto](), list[Value]()

    def node(self, op: str, *inputs: str, **attrs: Any) -> str:
        name = self.b.name()
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attrs))
        return name

    def outer(self, like: Value) -> str:
        """Something of the graph around it that broadcasts to what is like this."""
        value = self.b.other(like, low=-1.0, high=1.0)
        if any(
            np.broadcast_shapes(v.shape, x.shape) != x.shape for v, x in zip(value.arrays, like.arrays, strict=True)
        ):
            raise RejectError("larger than a state")
        self.captured.append(value)
        return value.name

    def mixed(self, names: list[str], like: Value) -> str:
        """A few operators over these, bounded, of the shape of the first."""
        at = names[0]
        for _ in range(self.b.integer(1, 3)):
            other = self.b.pick([*names, self.outer(like)]) if self.b.chance(0.4) else self.b.pick(names)
            at = self.node(self.b.pick(PAIRS), at, other)
            if self.b.chance(0.4):
                at = self.node(self.b.pick(ONES), at)
        return self.node("Tanh", at)

    def graph(self, inputs: list[ValueInfoProto], outputs: list[tuple[str, int, int]]) -> GraphProto:
        """outputs: name, element type and rank of each; every one gets a name of its own."""
        ends = [(self.node("Identity", name), element, rank) for name, element, rank in outputs]
        return helper.make_graph(self.nodes, "body", inputs, [info(*end) for end in ends])


def info(name: str, element: int, rank: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element, [None] * rank)


def element_of(value: Value) -> int:
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))


def start(b: Builder) -> Value:
    """An initial state."""
    if b.half:
        raise RejectError("element types of bodies, which the rounding of a file to float16 leaves")
    return b.value(ranks=(0, 3), low=-2, high=2, where=lambda v: all(a.size for a in v.arrays))


@generates("Scan")
def scan(b: Builder, op: str) -> object:
    if b.version(op) < 9:
        raise RejectError("a Scan with a batch axis")
    h = start(b)
    steps = b.free["T"] if b.chance(0.5) else (b.integer(1, 9),) * 2
    axis = b.integer(0, h.rank) if b.chance(0.4) else 0
    sequence = b.fresh([*h.sizes[:axis], steps, *h.sizes[axis:]], constant=False)
    body, element = Body(b), element_of(h)
    inputs = [info(b.name(), element, h.rank) for _ in range(2)]
    state = body.mixed([i.name for i in inputs], h)
    row = body.mixed([state, inputs[1].name], h) if b.chance(0.5) else state
    graph = body.graph(inputs, [(state, element, h.rank), (row, element, h.rank)])
    back = [b.integer(0, 1)] if b.chance(0.5) else None
    out = [b.integer(0, h.rank)] if b.chance(0.3) else None
    return b.add(op, [h, sequence], 2, captured=body.captured, body=graph, num_scan_inputs=1,
                 scan_input_axes=[axis] if axis or b.chance(0.3) else None, scan_input_directions=back,
                 scan_output_axes=out, scan_output_directions=[b.integer(0, 1)] if b.chance(0.3) else None)  # fmt: skip


@generates("Loop")
def loop(b: Builder, op: str) -> object:
    if b.opset < 9:
        raise RejectError("comparisons of integers")
    h, other = start(b), start(b)
    body, element = Body(b), element_of(h)
    i, going = info(b.name(), TensorProto.INT64, 0), info(b.name(), TensorProto.BOOL, 0)
    states = [info(b.name(), element, v.rank) for v in (h, other)]
    following = body.mixed([states[0].name], h)
    second = states[1].name if b.chance(0.3) else body.mixed([states[1].name], other)
    if h.sizes == other.sizes and b.chance(0.3):
        following, second = second, following
    goes_on, stop = going.name, b.ints(b.integer(0, 12))
    if b.chance(0.5):
        body.captured.append(stop)
        goes_on = body.node("Less", i.name, stop.name)
    ends = [(goes_on, TensorProto.BOOL, 0), (following, element, h.rank), (second, element, other.rank)]
    rows = [(following, element, h.rank), (i.name, TensorProto.INT64, 0)][: b.integer(0, 2)]
    graph = body.graph([i, going, *states], [*ends, *rows])
    counts = [np.array(b.integer(1, 12)) for _ in range(2)]
    limit = b.given(*counts) if b.chance(0.3) else b.constant(counts[0]) if b.chance(0.8) else None
    if limit is None and goes_on == going.name:
        raise RejectError("a loop without an end")
    condition = b.constant(np.array(True)) if b.chance(0.7) else None
    return b.add(op, [limit, condition, h, other], 2 + len(rows), captured=body.captured, body=graph)


@generates("If")
def branch(b: Builder, op: str) -> object:
    condition, x = b.value("b", ranks=(0, 0)), start(b)
    bodies, captured = {}, [x]
    for name in ("then_branch", "else_branch"):
        body = Body(b)
        end = body.mixed([x.name], x)
        bodies[name] = body.graph([], [(end, element_of(x), x.rank)])
        captured += body.captured
    return b.add(op, [condition], captured=captured, **bodies)
