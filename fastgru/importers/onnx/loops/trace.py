"""A loop's body, converted once, and the meaning of the values that come into it."""

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Final

import numpy as np

from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.iterations import Number, Step, count_iterations, scan_steps, steps_of
from fastgru.importers.onnx.loops.trips import trip_count
from fastgru.importers.onnx.registry import OnnxNode
from fastgru.process import once
from fastgru.records import dataclass
from fastgru.reference.facts import ValueFacts
from fastgru.reference.sizes import Size

__all__ = ["TracedBody", "traced"]

_MOST_TRACES: Final = 4


@dataclass
class TracedBody:
    """The body as nodes of our own, with its inputs and outputs.

    nodes: those that every iteration runs. fixed: those with the same results in every iteration. outer: the nodes of
    the graph around the loop. steps: the values that are one step of an outer sequence, by id. length: the number of
    iterations. numbers: the values that count iterations, by id.
    """

    nodes: list[BuiltNode]
    fixed: list[BuiltNode]
    outer: Sequence[BuiltNode]
    states: list[Value]
    next_states: list[Value]
    scans: list[Value]
    steps: dict[int, Step]
    length: Size
    numbers: dict[int, Number] = field(default_factory=dict)

    @once
    def values(self) -> dict[int, Value]:
        """Every value that a node reads or makes, by id."""
        return {id(v): v for node in self.nodes for v in (*node.inputs, *node.outputs) if v is not None}

    @once
    def made(self) -> set[int]:
        """The ids of the values that an iteration computes."""
        return {id(v) for node in self.nodes for v in node.outputs}

    def open_states(self) -> list[int]:
        """Return the states that a cell must explain: floating-point states that change and do not count iterations."""
        return [
            i
            for i, (before, after) in enumerate(zip(self.states, self.next_states, strict=True))
            if before is not after and id(before) not in self.numbers and _is_floating(before)
        ]

    def coming(self, open_states: Sequence[int]) -> list[Value]:
        """Return the floating-point values that come into an iteration, steps first: they best show the batch axis."""
        steps = [self.values[key] for key in self.steps if key in self.values and _is_floating(self.values[key])]
        return steps + [self.states[i] for i in open_states]

    def sizes_of(self, value: Value) -> tuple[Size, ...] | None:
        """Return the sizes of a value; if the last one is unknown, take it from the weights of a linear layer."""
        sizes, step = value.sizes, self.steps.get(id(value))
        if step is not None and step.whole.sizes is not None:
            kept = (1,) if value.rank == step.whole.rank else ()
            sizes = (*step.whole.sizes[: step.axis], *kept, *step.whole.sizes[step.axis + 1 :])
        if not sizes or isinstance(sizes[-1], int):
            return sizes
        for node in self.nodes:
            if node.op == "linear" and node.inputs[0] is value and node.inputs[1] is not None:
                weight = node.inputs[1].array
                if weight is not None and weight.ndim == 2:
                    return (*sizes[:-1], int(weight.shape[1]))
        return sizes


def _is_floating(value: Value) -> bool:
    return (value.dtype or "").startswith(("float", "bfloat"))


def traced(node: OnnxNode, trace: OnnxGraphBuilder, outer: Sequence[BuiltNode], form: LoopForm) -> TracedBody | None:
    """Convert the body of a loop into `trace`; None if its steps or the number of iterations are unknown.

    outer: the nodes of the graph around the loop.
    """
    rows = [] if form.is_loop else scan_steps(form)
    if rows is None:
        return None
    iteration = Value("iteration", ValueFacts("int64", ()))
    kept = {i for i in range(len(form.states)) if form.keeps(i)}
    sizes = [v.sizes for v in form.states]
    for _ in range(_MOST_TRACES):
        states = [v if i in kept else Value(v.hint, ValueFacts(v.dtype, sizes[i])) for i, v in enumerate(form.states)]
        given = [iteration, trace.constant(np.array(True)), *states] if form.is_loop else states
        trace.nodes.clear()
        outputs = node.around.run_body(form.body, [*given, *(value for value, _ in rows)], "", node.site)
        next_states = outputs[form.first_state : form.first_scan]
        unchanged = {i for i, v in enumerate(next_states) if v is states[i] or v is form.states[i]}
        wider = [_widened(before, v.sizes) for before, v in zip(sizes, next_states, strict=True)]
        if unchanged == kept and wider == sizes:
            break
        kept, sizes = unchanged, wider
    else:
        return None
    after, scans = next_states, outputs[form.first_scan :]
    open_ends = {id(iteration), *(id(v) for v, _ in rows)}
    open_ends |= {id(v) for i, v in enumerate(states) if i not in kept}
    nodes, fixed = _parted(trace.nodes, open_ends)
    numbers = count_iterations(nodes, iteration, states, after, form.states)
    body = TracedBody(nodes, fixed, outer, states, after, scans, {id(v): step for v, step in rows}, form.limit, numbers)
    if not form.is_loop:
        return body
    length = trip_count(form, outputs[0], [*trace.nodes, *outer], outer, numbers)
    return None if length is None else replace(body, length=length, steps=steps_of(nodes, numbers, length))


def _widened(before: tuple[Size, ...] | None, after: tuple[Size, ...] | None) -> tuple[Size, ...] | None:
    """Return the sizes of a state in every iteration: an axis that has one element at first may become the batch."""
    if before is None or after is None or len(before) != len(after):
        return before
    return tuple(b if a == 1 and b is not None else a for a, b in zip(before, after, strict=True))


def _parted(nodes: Sequence[BuiltNode], open_ends: set[int]) -> tuple[list[BuiltNode], list[BuiltNode]]:
    """Split nodes into those that depend on values in `open_ends`, and those that do not."""
    varying, moving, fixed = set(open_ends), [], []
    for node in nodes:
        if any(v is not None and id(v) in varying for v in node.inputs):
            varying.update(id(v) for v in node.outputs)
            moving.append(node)
        else:
            fixed.append(node)
    return moving, fixed
