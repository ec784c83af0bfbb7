"""Loop and If. A captured value has the same name inside the body and outside.

ONNX's Loop has no sequences, and stacks forward along the first axis. So the body gathers the slices of sequences, and
stacked values are reversed and transposed after the loop.
"""

from collections.abc import Sequence

from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from fastgru.exporters.onnx.writer import OnnxWriter, element_type, exporter, write_body
from fastgru.graph import Node, Subgraph
from fastgru.reference.shape import normal_axis


@exporter("loop")
def _loop(node: Node, write: OnnxWriter) -> None:
    attrs, body = node.attrs, node.attrs["body"].by_name(node)
    K, S = attrs["states"], len(attrs["axes"])
    limit, condition, *values = node.inputs
    graph = _body(node, body, values[K : K + S], write)
    outputs = [name or write.free("unread") for name in (*node.outputs, *[""] * K)[:K]]
    rows = [write.free("rows") for _ in attrs["output_axes"]]
    count = _count(limit, values[K : K + S], attrs["axes"], write)
    write.emit_all("Loop", [count, condition, *values[:K]], [*outputs, *rows], body=graph)
    for i, name in enumerate(node.outputs[K:]):
        if name:
            axis, back = attrs["output_axes"][i], attrs["output_backward"][i]
            _write_stacked(rows[i], name, body.outputs[1 + K + i], axis, back, write)


def _count(limit: str, sequences: Sequence[str], axes: Sequence[int], write: OnnxWriter) -> str:
    """Return the number of iterations, "" if it has no bound."""
    counts = []
    if limit:
        counts.append(write.emit("Reshape", write.emit("Cast", limit, to=TensorProto.INT64), write.integers([])))
    for x, axis in list(zip(sequences, axes, strict=True))[:1]:
        size = write.emit("Gather", write.emit("Shape", x), write.array(axis, "int64"), axis=0)
        counts.append(size)
    return "" if not counts else counts[0] if len(counts) == 1 else write.emit("Min", *counts)


def _body(node: Node, body: Subgraph, sequences: Sequence[str], write: OnnxWriter) -> GraphProto:
    attrs, going = node.attrs, write.free("going")
    iteration, *inner = body.inputs
    states, slices = inner[: attrs["states"]], inner[attrs["states"] :]
    with write.inside() as nodes:
        for i, (name, x) in enumerate(zip(slices, sequences, strict=True)):
            back = attrs["backward"][i]
            at = write.emit("Sub", write.array(-1, "int64"), iteration) if back else iteration
            write.emit("Gather", x, at, out=name, axis=attrs["axes"][i])
        write_body(body.nodes, write)
        ends = [_end(body.outputs[0] or going, TensorProto.BOOL, write)]
        ends += [_end(name, element_type(name, write), write) for name in body.outputs[1:]]
    given: list[tuple[str, int, list[int]]] = [(iteration, TensorProto.INT64, []), (going, TensorProto.BOOL, [])]
    inputs = [helper.make_tensor_value_info(*each) for each in given]
    inputs += [helper.make_tensor_value_info(name, element_type(name, write), None) for name in states]
    return helper.make_graph(nodes, f"{node.outputs[0]}/body", inputs, ends)


def _end(name: str, element: int, write: OnnxWriter) -> ValueInfoProto:
    """Return an output of a body, as a copy: ONNX allows no output twice, and none that the body does not compute."""
    return helper.make_tensor_value_info(write.emit("Identity", name), element, None)


def _write_stacked(rows: str, name: str, row: str, axis: int, back: bool, write: OnnxWriter) -> None:
    """Reverse and transpose what a loop has stacked along the first axis, as the node requires."""
    if back:
        rows = write.emit("Slice", rows, *(write.integers([n]) for n in (-1, -(1 << 62), 0, -1)))
    rank = len(write.facts(row).sizes or ()) + 1
    at = normal_axis(axis, rank)
    order = [*range(1, at + 1), 0, *range(at + 1, rank)]
    write.emit("Transpose", rows, out=name, perm=order) if at else write.emit("Identity", rows, out=name)


@exporter("branch")
def _branch(node: Node, write: OnnxWriter) -> None:
    branches = {}
    for name, key in (("then_branch", "then"), ("else_branch", "otherwise")):
        body = node.attrs[key].by_name(node)
        with write.inside() as nodes:
            write_body(body.nodes, write)
            ends = [_end(end, element_type(end, write), write) for end in body.outputs]
        branches[name] = helper.make_graph(nodes, f"{node.outputs[0]}/{key}", [], ends)
    outputs = [name or write.free("unread") for name in (*node.outputs, *[""] * len(ends))[: len(ends)]]
    write.emit_all("If", [node.inputs[0]], outputs, **branches)
