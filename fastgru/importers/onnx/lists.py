"""Replace ONNX sequences by tensors: lists that TorchScript iterates over or appends to in a loop.

for x_t in x.unbind(0): ...       SplitToSequence, SequenceLength, SequenceAt  ->  Shape, Gather
ys.append(h) ... torch.stack(ys)  SequenceEmpty, SequenceInsert, ConcatFromSequence  ->  an output that Loop stacks
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from fastgru.importers.onnx.external import ExternalData
from fastgru.importers.onnx.proto import AttributeProto, NodeProto
from fastgru.importers.onnx.structure import body_graphs
from fastgru.importers.onnx.tensors import read_tensor

__all__ = ["without_lists"]

_MOST_LISTS: Final = 64
_INT: Final = AttributeProto.AttributeType.Value("INT")


def without_lists(nodes: Sequence[NodeProto], outputs: Collection[str]) -> list[NodeProto]:
    """Return the nodes with lists of these two kinds replaced by tensors; other lists stay as they are.

    outputs: the outputs of the graph; a list that is one of them is not replaced.
    """
    found = list(nodes)
    if sum(node.op_type in ("SequenceEmpty", "SplitToSequence") for node in nodes) not in range(1, _MOST_LISTS + 1):
        return found
    for node in nodes:
        if node.op_type == "SplitToSequence" and not _integer(node, "keepdims", 1):
            # onnxruntime honours keepdims also if `split` is the scalar 1, although ONNX does not say so.
            parts = next((n for n in nodes if len(node.input) > 1 and node.input[1] in n.output), None)
            single = parts is None or (parts.op_type == "Constant" and _is_one(parts))
            readers = list(_readers(found, node.output[0]))
            known = all(reader.op_type in ("SequenceAt", "SequenceLength") for reader in readers)
            if single and known and node.output[0] not in outputs and (parts is not None or len(node.input) < 2):
                found = [new for old in found if old is not node for new in _of_steps(old, node)]
        elif node.op_type == "Loop":
            found = _stacked(found, node, {n.output[0] for n in nodes if n.op_type == "SequenceEmpty"}, outputs)
    return found


def _is_one(constant: NodeProto) -> bool:
    array = read_tensor(constant.attribute[0].t, "Constant", ExternalData(None))
    return array.ndim == 0 and array.dtype.kind == "i" and int(array) == 1


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _readers(nodes: Sequence[NodeProto], name: str) -> Iterator[NodeProto]:
    """Yield the nodes that read a name, those of bodies included."""
    for node in nodes:
        if name in node.input:
            yield node
        for body in body_graphs(node):
            yield from _readers(body.node, name)


def _made(op: str, inputs: Sequence[str], output: str, **integers: int) -> NodeProto:
    node = NodeProto(op_type=op, input=inputs, output=[output], name=output)
    for name, value in integers.items():
        node.attribute.add(name=name, type=_INT, i=value)
    return node


def _of_steps(node: NodeProto, split: NodeProto) -> list[NodeProto]:
    """Return the nodes that replace `node`: they read steps from the tensor that `split` splits, not from its list."""
    name, axis = split.output[0], _integer(split, "axis", 0)
    if node.op_type == "SequenceAt" and node.input[0] == name:
        return [_made("Gather", [split.input[0], node.input[1]], node.output[0], axis=axis)]
    if node.op_type == "SequenceLength" and node.input[0] == name:
        shape, place = f"{node.output[0]}.shape", f"{node.output[0]}.axis"
        constant = _made("Constant", [], place, value_int=axis)
        return [_made("Shape", [split.input[0]], shape), constant, _made("Gather", [shape, place], node.output[0])]
    if not any(name in reader.input for body in body_graphs(node) for reader in body.node):
        return [node]
    copy = NodeProto()
    copy.CopyFrom(node)
    for body in body_graphs(copy):
        inner = [new for old in body.node for new in _of_steps(old, split)]
        kept = [NodeProto.FromString(n.SerializeToString()) for n in inner]
        del body.node[:]
        body.node.extend(kept)
    return [copy]


def _stacked(nodes: Sequence[NodeProto], loop: NodeProto, empty: set[str], outputs: Collection[str]) -> list[NodeProto]:
    """Replace lists that begin empty and grow by one tensor per iteration by outputs that the loop stacks."""
    found = list(nodes)
    place = next((i for i, node in enumerate(found) if node.name == loop.name and loop.output == node.output), None)
    for p in reversed(range(2, len(loop.input))):
        if place is None or loop.input[p] not in empty or len(loop.output) < p - 1:
            continue
        node = NodeProto()
        node.CopyFrom(found[place])
        body, name = next(body_graphs(node)), node.output[p - 2]
        before, after = body.input[p].name, body.output[p - 1].name
        joins, inserts = list(_readers(found, name)), [n for n in body.node if after in n.output]
        appends = len(inserts) == 1 and inserts[0].op_type == "SequenceInsert" and len(inserts[0].input) == 2
        grows = appends and inserts[0].input[0] == before and len(list(_readers(body.node, before))) == 1
        if not grows or not joins or name in outputs or not all(map(_stacks, joins)):
            continue
        body.output.add(name=inserts[0].input[1])
        body.node.remove(inserts[0])
        del body.input[p], body.output[p - 1], node.input[p], node.output[p - 2]
        node.output.extend([""] * (len(body.output) - 2 - len(node.output)))
        node.output.append(name)
        found[place] = node
        found = [_made("Identity", n.input[:1], n.output[0]) if any(n is join for join in joins) else n for n in found]
    return found


def _stacks(node: NodeProto) -> bool:
    """Return whether a node stacks a list into one tensor, along a new first axis."""
    return node.op_type == "ConcatFromSequence" and not _integer(node, "axis", 1) and _integer(node, "new_axis", 0) == 1
