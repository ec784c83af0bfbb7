"""Move nodes that depend on no state of a loop before the loop, where they run once for all iterations.

A linear layer over the steps of a sequence is then one GEMM instead of one GEMV a step. Rows have the same bits either
way, so a stream, which takes one step at a time, agrees with a whole sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Final, NamedTuple

import numpy as np

from fastgru.engine.buffers import Value, View, itemsize
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.nodes import lower_nodes
from fastgru.errors import FastGRUError
from fastgru.graph import Node

__all__ = ["Steps", "made_ahead"]

_MOST_BYTES: Final = 16 << 20  # of the tensors that are made ahead for one loop

_PLAIN: Final = ("activation", "unary", "cast", "clip")
_ALONG: Final = ("concat", "layer_norm", "softmax", "split")  # their attribute `axis` changes with an axis in front


class Steps(NamedTuple):
    """A tensor of which each iteration reads a slice: along the first axis, from its end if `backward`."""

    value: View
    backward: bool


def made_ahead(
    builder: PlanBuilder, nodes: Sequence[Node], steps: dict[str, Steps], outside: Mapping[str, Value]
) -> list[Node]:
    """Return the nodes that are left for the body, and add the outputs of the others to `steps`.

    outside: the values that are the same in every iteration.
    """
    left, room = [], _MOST_BYTES
    for node in nodes:
        read = [steps[name] for name in node.inputs if name in steps]
        known = all(name in steps or name in outside for name in node.inputs if name)
        if read and known and not node.bodies and len({each.backward for each in read}) == 1:
            changed = _over_time(node, steps, outside)
            nbytes = 0 if changed is None else _nbytes(node, read, outside)
            if changed is not None and nbytes <= room:
                values: dict[str, Value] = {**outside, **{name: each.value for name, each in steps.items()}}
                try:
                    lower_nodes(builder, [changed], values)
                except FastGRUError:
                    pass  # lowering the body raises the same error, with the shapes of one iteration
                else:
                    room -= nbytes
                    made = (name for name in node.outputs if name)
                    steps.update((name, Steps(builder.view(values[name]), read[0].backward)) for name in made)
                    continue
        left.append(node)
    return left


def _over_time(node: Node, steps: Mapping[str, Steps], outside: Mapping[str, Value]) -> Node | None:
    """Return the node over all steps, whose tensors have one more axis, in front; None if that changes its meaning."""
    ranks = [steps[name].value.ndim - 1 for name in node.inputs if name in steps]
    others = [outside[name].ndim for name in node.inputs if name and name not in steps]
    first, attrs = node.inputs[0] in steps, node.attrs
    if node.op == "binary":
        fits = len({*ranks}) == 1 and max(others, default=0) <= ranks[0]
    elif node.op in ("linear", "matmul"):
        fits = first and len(ranks) == 1 and ranks[0] > 0 and (node.op == "linear" or others == [2])
    elif node.op == "concat":
        fits = not others and len({*ranks}) == 1
    elif node.op in (*_PLAIN, *_ALONG):
        fits = first and len(ranks) == 1
    else:
        fits = False
    if not fits:
        return None
    if node.op in _ALONG and attrs["axis"] >= 0:
        attrs = {**attrs, "axis": attrs["axis"] + 1}
    return replace(node, attrs=attrs)


def _nbytes(node: Node, read: Sequence[Steps], outside: Mapping[str, Value]) -> int:
    """Estimate the bytes of the node's outputs."""
    sizes = [each.value.size for each in read]
    if node.op in ("linear", "matmul"):
        width = outside[node.inputs[1]].shape[0 if node.op == "linear" else -1]
        return prod(read[0].value.shape[:-1]) * width * itemsize(read[0].value.dtype)
    size = sum(sizes)
    if node.op == "binary":
        others = [outside[name].shape for name in node.inputs if name in outside]
        try:
            shape = np.broadcast_shapes(*[each.value.shape[1:] for each in read], *others)
        except ValueError:  # lowering refuses the node
            return 0
        size = read[0].value.shape[0] * prod(shape)
    return size * itemsize(read[0].value.dtype)
