"""What of a loop's body depends on its sequences alone: made for all iterations at once, before the loop.

A linear layer over the steps of a sequence is then one GEMM in the place of as many GEMVs. Rows have the same bits
either way, so that a stream, which takes a step at a time, agrees with a whole sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final, NamedTuple

from fastgru.engine.buffers import Value, View, itemsize
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.nodes import lower_nodes
from fastgru.errors import FastGRUError
from fastgru.graph import Node

__all__ = ["Steps", "made_ahead"]

_MOST_BYTES: Final = 16 << 20  # of what is made ahead for one loop

_PLAIN: Final = ("activation", "unary", "cast", "clip")
_ALONG: Final = ("concat", "layer_norm", "softmax", "split")  # an axis, which a further one in front moves on


class Steps(NamedTuple):
    """What each iteration has a slice of: along the first axis, from its end where `backward`."""

    value: View
    backward: bool


def made_ahead(
    builder: PlanBuilder, nodes: Sequence[Node], steps: dict[str, Steps], outside: Mapping[str, Value]
) -> list[Node]:
    """The nodes that are left for the body; what the others make is added to `steps`.

    outside: what is the same in every iteration.
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
                    pass  # said of the body, in its words
                else:
                    room -= nbytes
                    made = (name for name in node.outputs if name)
                    steps.update((name, Steps(builder.view(values[name]), read[0].backward)) for name in made)
                    continue
        left.append(node)
    return left


def _over_time(node: Node, steps: Mapping[str, Steps], outside: Mapping[str, Value]) -> Node | None:
    """The node over all steps, which have one axis more, in front; None where that would be another operation."""
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
    """Of what the node makes, no less."""
    sizes = [each.value.size for each in read]
    if node.op in ("linear", "matmul"):
        width = outside[node.inputs[1]].shape[0 if node.op == "linear" else -1]
        return prod(read[0].value.shape[:-1]) * width * itemsize(read[0].value.dtype)
    others: Any = [prod(outside[name].shape) for name in node.inputs if name in outside]
    rows = read[0].value.shape[0]
    return max(sum(sizes), rows * max(others, default=0)) * itemsize(read[0].value.dtype)
