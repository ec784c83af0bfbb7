"""Decides whether a network can be run frame by frame, and which states it keeps from one frame to the next.

One axis of the inputs is taken as time and followed through every node, by the facts of its operator. A value has one
step per frame, or is the result of the last step, or does not depend on frames. A node may carry values from one frame
to the next only in a state, which can be opened. Every other node must compute each frame from that frame alone. An
operator whose facts do not say so is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.graph import Array, Graph, Node, Subgraph, every_node
from fastgru.reference.facts import ValueFacts, mixes, ties
from fastgru.reference.operand import Place
from fastgru.reference.python import PYTHON
from fastgru.reference.slicing import takes_last
from fastgru.spec import RECURRENT

__all__ = ["Axis", "Framewise", "Past", "State", "time_axes"]

Axis = tuple[str, int]  # name of a value, and axis

_WHOLE: Final = "feed the model whole sequences"
_ALONE: Final = "feed the model whole sequences, or export the network without this operation"


class State(NamedTuple):
    """A state of a node: the index of its input, the index of its output, and its kind."""

    node: Node
    input: int
    output: int
    kind: str


class Past(NamedTuple):
    """Past steps of its first input that a node reads beside the new ones: how many, along which axis.

    value: of the steps before the first frame.
    """

    node: Node
    axis: int
    steps: int
    value: float


class _Steps(NamedTuple):
    """A value with steps along `axis`: `lead` steps of the past come before them, `trail` excess steps after them."""

    axis: int
    lead: int = 0
    trail: int = 0


def time_axes(graph: Graph, facts: Mapping[str, ValueFacts]) -> list[tuple[Axis, ...]]:
    """Return the axes of inputs that may be time, the likeliest first.

    They are the axes that recurrent layers and loops run along, or, if there are none, the axes that convolutions and
    pads extend causally.
    """
    joined = _Joined(graph, facts)
    inputs = [
        (spec.name, axis)
        for spec in graph.inputs
        if spec.name not in graph.states
        for axis in range(len(spec.shape or ()))
    ]
    free = {(spec.name, axis) for spec in graph.inputs for axis, n in enumerate(spec.shape or ()) if n is None}
    along = [axis for node in graph.nodes for axis in _recurrences(node)]
    along = along or [axis for node in graph.nodes for axis in _causal(node, facts)]
    found = dict.fromkeys(tuple([i for i in inputs if joined.find(i) == joined.find(axis)]) for axis in along)
    return sorted(filter(None, found), key=lambda axes: free.isdisjoint(axes))


def _recurrences(node: Node) -> Iterator[Axis]:
    """Yield the axes of its inputs that a recurrent layer or a loop runs along."""
    if node.op in RECURRENT:
        yield node.inputs[0], 1 if node.attrs["spec"].get("batch_first") else 0
    elif node.op == "loop":
        sequences = node.inputs[2 + node.attrs["states"] :]
        yield from zip(sequences, node.attrs["axes"], strict=False)


def _causal(node: Node, facts: Mapping[str, ValueFacts]) -> Iterator[Axis]:
    """Yield the axes along which a convolution has causal padding, and every axis from 2 on of a pad."""
    rank = (facts[node.inputs[0]].rank if node.op in ("conv", "pad") and node.inputs[0] in facts else None) or 0
    taps = (facts[node.inputs[1]].sizes if node.op == "conv" and node.inputs[1] in facts else None) or (None,) * rank
    pads = node.attrs.get("pads")
    for axis in range(2, rank):
        if node.op == "pad":
            yield node.inputs[0], axis
        elif isinstance(pads, list | tuple) and isinstance(count := taps[axis], int) and count > 1:
            reach = (count - 1) * node.attrs["dilations"][axis - 2]
            if pads[axis - 2] == reach and pads[axis - 2 + len(pads) // 2] in (0, reach):
                yield node.inputs[0], axis


def _declared_steps(node: Node) -> tuple[tuple[Place, Place], ...]:
    """Return the axes of steps of a function that is declared `per_step`, as `Ties.same` has them. Keras has axis 1."""
    if node.op != PYTHON or not node.attrs["function"].per_step:
        return ()
    return tuple([((i, 1), (j, 1)) for i in range(len(node.inputs)) for j in range(len(node.outputs))])


class _Joined:
    """Groups the axes of values that are the same axis, by the facts of the operators between them."""

    def __init__(self, graph: Graph, facts: Mapping[str, ValueFacts]) -> None:
        self._parent: dict[Axis, Axis] = {}
        for node in graph.nodes:
            inputs = [facts.get(name, ValueFacts()) if name else None for name in node.inputs]
            told = ties(node.op, inputs, node.attrs, len(node.outputs))
            for (i, a), (j, b) in (
                *told.same,
                *_declared_steps(node),
                *(told.kin if node.op in ("conv", "pad") else ()),
            ):
                if node.inputs[i] not in graph.constants:
                    self._join((node.inputs[i], a), (node.outputs[j], b))
            for _, places in told.roles:
                axes = [(node.inputs[i], a) for i, a in places if node.inputs[i] not in graph.constants]
                for axis in axes[1:]:
                    self._join(axes[0], axis)

    def find(self, axis: Axis) -> Axis:
        while (above := self._parent.get(axis, axis)) != axis:
            axis = above
        return axis

    def _join(self, a: Axis, b: Axis) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self._parent[a] = b


class Framewise:
    """A graph whose frames lie along these axes of its inputs. found: the states that it keeps between frames.

    facts: of every value. Raises `UnsupportedModelError` that names the node which needs more than one frame.
    """

    def __init__(self, graph: Graph, axes: Sequence[Axis], facts: Mapping[str, ValueFacts]) -> None:
        self.found: list[State | Past] = []
        self._graph, self._facts = graph, facts
        self._steps = {name: _Steps(axis) for name, axis in axes}
        self._last: set[str] = set()  # values of the last step
        self._sized: set[str] = set()  # integers that may depend on the number of steps
        self._given = {spec.name for spec in graph.inputs}
        if len(self._steps) < len(axes):
            raise UnsupportedModelError(f"time runs along two axes of one input, {list(axes)}: {_WHOLE}")
        for node in graph.nodes:
            self._follow(node)
            self._steps.pop("", None)  # the name of every output that is not read
            self._last.discard("")
            self._sized.discard("")
        for spec in graph.outputs:
            if spec.name in self._sized or any(self._steps.get(spec.name, (0,))[1:]):
                raise UnsupportedModelError(f"output {spec.name!r} depends on the number of frames of a call: {_WHOLE}")

    def _follow(self, node: Node) -> None:
        marked = [i for i, name in enumerate(node.inputs) if name in self._steps]
        last = [i for i, name in enumerate(node.inputs) if name in self._last]
        sized = [i for i, name in enumerate(node.inputs) if name in self._sized]
        if node.op == "shape":
            if marked:
                self._sized.update(node.outputs)
        elif sized and not marked and not last:
            if node.op not in ("constant_of_shape", "expand") or (node.op == "expand" and 0 in sized):
                self._sized.update(node.outputs)
        elif sized and (node.op not in ("reshape", "expand") or 0 in sized):
            raise self._refused(node, "computes with the number of frames of a call")
        elif marked and last:
            raise self._refused(node, "makes every frame depend on the last frame")
        elif not marked:
            self._last.update(node.outputs if last else ())
        elif node.op in RECURRENT:
            self._recurrent(node)
        elif node.op == "loop":
            self._loop(node)
        elif node.op == "pad":
            self._pad(node)
        elif node.op == "conv" and marked == [0] and self._steps[node.inputs[0]].axis >= 2:
            self._conv(node)
        elif node.op == "last" or self._takes_last(node):
            self._last.update(node.outputs)
        elif node.op == "slice" and self._cuts_trail(node):
            self._steps[node.outputs[0]] = self._steps[node.inputs[0]]._replace(trail=0)
        else:
            self._apart(node, marked)

    def _refused(self, node: Node, why: str, way: str = _ALONE) -> UnsupportedModelError:
        return UnsupportedModelError(f"{node} {why}, so the network cannot be run frame by frame: {way}")

    def _takes_last(self, node: Node) -> bool:
        rank, (axis, _) = self._facts[node.inputs[0]].rank, takes_last(node, self._graph.constants)
        return axis is not None and rank is not None and self._steps.get(node.inputs[0]) == _Steps(axis % rank)

    def _cuts_trail(self, node: Node) -> bool:
        """Return whether the slice removes the steps at the end that a convolution computed from its padding there."""
        steps, rank = self._steps[node.inputs[0]], self._facts[node.inputs[0]].rank or 0
        constants = self._graph.constants
        read = [np.asarray(constants[n]).reshape(-1).tolist() if n in constants else None for n in node.inputs[1:]]
        begin, end, axes, step = [*read, *[None] * (3 - len(read)), [1]][:4]
        where = axes is not None and len(axes) == 1 and axes[0] % max(rank, 1) == steps.axis
        return where and steps.trail > 0 and (begin, end, step) == ([0], [-steps.trail], [1])

    def _apart(self, node: Node, marked: Sequence[int]) -> None:
        """Follow a node that must compute each frame from that frame alone."""
        inputs = [self._facts.get(name, ValueFacts()) if name else None for name in node.inputs]
        mixing, same = mixes(node.op, inputs, node.attrs), ties(node.op, inputs, node.attrs, len(node.outputs)).same
        if declared := _declared_steps(node):
            mixing, same = {}, declared
        around = {self._steps[node.inputs[i]][1:] for i in marked}
        for j, output in enumerate(node.outputs):
            found = set()
            for i in marked:
                axis = self._steps[node.inputs[i]].axis
                places = [b for a, (k, b) in same if a == (i, axis) and k == j]
                if mixing is None or len(places) != 1 or (i == 0 and axis in mixing) or len(around) > 1:
                    raise self._refused(node, "reads other frames, or depends on their number")
                found.add(places[0])
            if len(found) > 1:
                raise self._refused(node, "puts the frames of its inputs on different axes")
            (place,) = found
            for (i, axis), (k, b) in same:
                size = (self._facts[node.inputs[i]].sizes or ())[axis] if node.inputs[i] in self._facts else None
                if (k, b) == (j, place) and i not in marked and isinstance(size, int) and size > 1:
                    raise self._refused(node, f"reads {node.inputs[i]!r}, which has a value of its own for each frame")
            ((lead, trail),) = around
            self._steps[output] = _Steps(place, lead, trail)

    def _recurrent(self, node: Node) -> None:
        spec = node.attrs["spec"]
        t = 1 if spec.get("batch_first") else 0
        x, initial, lengths, mask, *rest = [*node.inputs, "", "", "", ""][: max(len(node.inputs), 4)]
        states = [(1, initial), *((4 + k, name) for k, name in enumerate(rest[: len(RECURRENT[node.op].STATES) - 1]))]
        if any(any(self._steps[name][1:]) for name in node.inputs if name in self._steps):
            raise self._refused(node, "runs over the padding around the frames")
        if self._steps.get(x) == _Steps(1 - t):  # the frames are its batch: it runs over each of them by itself
            begins = [np.asarray(self._graph.constants.get(name, 0.0)) for _, name in states]
            alike = all(a.ndim < 3 or (a == a[:, :1]).all() for a in begins)
            if lengths or mask or not alike or any(self._steps.get(n, _Steps(1)) != _Steps(1) for _, n in states):
                raise self._refused(
                    node, "runs within each frame, with lengths, a mask, or initial states that differ between frames"
                )
            self._steps[node.outputs[0]] = _Steps(1 - t)
            self._steps.update({name: _Steps(1) for name in node.outputs[1:] if name})
            return
        if self._steps.get(x) != _Steps(t) or any(n in self._steps for n in node.inputs if n not in (x, mask)):
            raise self._refused(node, "takes frames as something other than its steps")
        if spec.get("direction", "forward") != "forward":
            way = "feed the model whole sequences, or train the network with forward layers"
            raise self._refused(node, f"is {spec['direction']}, and starts from the last frame", way)
        if lengths and lengths not in self._given:
            raise self._refused(node, "takes lengths that the network computes")
        if mask and (self._steps.get(mask) != _Steps(t) or spec.get("mask_output", "carry") == "carry"):
            raise self._refused(node, "repeats its last output at masked frames")
        for k, (i, _) in enumerate(states):
            self.found.append(State(node, i, 1 + k, ("state", "cell")[k]))
        self._steps[node.outputs[0]] = _Steps(t)
        self._last.update(name for name in node.outputs[1:] if name)

    def _loop(self, node: Node) -> None:
        attrs, body = node.attrs, node.attrs["body"]
        limit, condition, *values = node.inputs
        K, axes = attrs["states"], attrs["axes"]
        sequences = values[K : K + len(axes)]
        along = all(self._steps.get(name) == _Steps(axis) for name, axis in zip(sequences, axes, strict=True))
        if not sequences or not along or any(n in self._steps for n in (*values[:K], *values[K + len(axes) :])):
            raise self._refused(node, "takes frames as something other than the steps of its sequences")
        if limit or condition or body.outputs[0] or _reads(body, body.inputs[0]):
            raise self._refused(node, "counts its iterations, or decides when to stop")
        if any(attrs["backward"]) or any(attrs["output_backward"]):
            raise self._refused(node, "starts from the last frame")
        self.found += [State(node, 2 + k, k, "state" if K == 1 else f"state_{k}") for k in range(K)]
        self._last.update(name for name in node.outputs[:K] if name)
        for name, axis in zip(node.outputs[K:], attrs["output_axes"], strict=True):
            rank = len(self._facts[name].sizes or ()) if name in self._facts else 0
            if name and not rank:
                raise self._refused(node, "stacks values of an unknown shape")
            self._steps[name] = _Steps(axis % max(rank, 1))

    def _pad(self, node: Node) -> None:
        """Follow a pad: steps that it adds before the first frame become a `Past` that begins with the padding."""
        steps, constants = self._steps[node.inputs[0]], self._graph.constants
        read = [np.asarray(constants[name]) if name in constants else None for name in node.inputs[1:]]
        value = read[1] if len(read) > 1 and node.inputs[2] else np.zeros(())
        rank = self._facts[node.inputs[0]].rank or 0
        axes = [axis % rank for axis in node.attrs.get("axes") or range(rank)]
        if read[0] is None or value is None or steps.axis not in axes:
            if steps.axis in axes:
                raise self._refused(node, "has padding that is known only in a call")
            self._steps[node.outputs[0]] = steps
            return
        widths: Array = read[0].reshape(2, -1)
        before, after = map(int, widths[:, axes.index(steps.axis)])
        if (before or after) and (before < 0 or after or any(steps[1:]) or node.attrs["mode"] != "constant"):
            raise self._refused(node, "pads in another way than by a constant before the first frame")
        if before:
            self.found.append(Past(node, steps.axis, before, float(value.reshape(-1)[0])))
        self._steps[node.outputs[0]] = steps._replace(lead=steps.lead + before)

    def _conv(self, node: Node) -> None:
        """Follow a convolution along time, which must be causal."""
        axis, lead, trail = self._steps[node.inputs[0]]
        sizes, k = self._facts[node.inputs[1]].sizes, axis - 2
        taps = None if sizes is None else sizes[axis]
        pads: Any = node.attrs["pads"]
        if taps != 1 or isinstance(pads, str) or lead or trail:
            reach = (taps - 1) * node.attrs["dilations"][k] if isinstance(taps, int) else -1
            before, after = (-1, -1) if isinstance(pads, str) else (pads[k], pads[k + len(pads) // 2])
            odd = (before and lead) or trail or after not in (0, reach) or node.attrs["strides"][k] != 1
            if reach < 0 or before + lead != reach or odd:
                way = "use causal convolutions with stride 1, padded only before the first frame"
                raise self._refused(node, "reads later frames, or skips frames", way)
            if before:
                self.found.append(Past(node, axis, before, 0.0))
        elif node.attrs["strides"][k] != 1 or pads[k] or pads[k + len(pads) // 2]:
            raise self._refused(node, "adds or skips frames")
        else:
            after = 0
        self._steps[node.outputs[0]] = _Steps(axis, 0, after)


def _reads(body: Subgraph, name: str) -> bool:
    return name in body.outputs or any(name in node.inputs for node in every_node(body.nodes))
