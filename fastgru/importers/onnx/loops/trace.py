"""A loop's body converted once, and what each value is that comes into it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.affine import Atom
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.iterations import Step, count_iterations, scan_steps, steps_of, trip_count
from fastgru.importers.onnx.registry import OnnxNode
from fastgru.process import once
from fastgru.reference.facts import ValueFacts
from fastgru.reference.sizes import Size

__all__ = ["TracedBody", "traced"]


@dataclass
class TracedBody:
    """The body as nodes of ours, what it reads and gives.

    steps: what is one step of a sequence outside, by id. length: the number of iterations. counters: the states that
    count them.
    """

    nodes: list[BuiltNode]
    states: list[Value]
    next_states: list[Value]
    scans: list[Value]
    steps: dict[int, Step]
    length: Size
    counters: frozenset[int] = frozenset()

    @once
    def values(self) -> dict[int, Value]:
        """Every value that a node reads or makes, by id."""
        return {id(v): v for node in self.nodes for v in (*node.inputs, *node.outputs) if v is not None}

    def open_states(self) -> list[int]:
        """The states that a cell must account for: what passes through unchanged, or counts, needs none."""
        return [
            i
            for i, (before, after) in enumerate(zip(self.states, self.next_states, strict=True))
            if before is not after and _is_floating(before)
        ]

    def atoms(self, open_states: Sequence[int]) -> dict[int, Atom] | None:
        """What comes into the body, by id; None where the width of a value is not known."""
        coming = [self.states[i] for i in open_states]
        coming += [self.values[key] for key in self.steps if key in self.values and _is_floating(self.values[key])]
        atoms = {}
        for value in coming:
            width = self._width(value)
            if width is None or value.rank not in (1, 2, 3):
                return None
            atoms[id(value)] = Atom(width, name=value.hint)
        return atoms

    def _width(self, value: Value) -> int | None:
        sizes = value.sizes
        if sizes and isinstance(sizes[-1], int):
            return sizes[-1] or None
        for node in self.nodes:
            if node.op == "linear" and node.inputs[0] is value and node.inputs[1] is not None:
                weight = node.inputs[1].array
                return None if weight is None or weight.ndim != 2 else int(weight.shape[1])
        return None


def _is_floating(value: Value) -> bool:
    return (value.dtype or "").startswith(("float", "bfloat"))


def traced(node: OnnxNode, trace: OnnxGraphBuilder, outer: Sequence[BuiltNode], form: LoopForm) -> TracedBody | None:
    """The body of a loop, converted into `trace`; None where it is not known what it reads in which iteration.

    outer: the nodes of the graph around the loop.
    """
    states = [v if form.keeps(i) else Value(v.hint, ValueFacts(v.dtype, v.sizes)) for i, v in enumerate(form.states)]
    iteration = Value("iteration", ValueFacts("int64", ()))
    rows = None
    if form.is_loop:
        given = [iteration, trace.constant(np.array(True)), *states]
    else:
        rows = scan_steps(form)
        if rows is None:
            return None
        given = [*states, *(value for value, _ in rows)]
    outputs = node.around.run_body(form.body, given, "", node.site)
    after, scans = outputs[form.first_state : form.first_scan], outputs[form.first_scan :]
    if rows is not None:
        return TracedBody(trace.nodes, states, after, scans, {id(value): step for value, step in rows}, form.limit)
    numbers = count_iterations(trace.nodes, iteration, states, after, form.states)
    length = trip_count(form, outputs[0], trace.nodes, outer, numbers)
    if length is None:
        return None
    counters = frozenset(i for i, state in enumerate(states) if id(state) in numbers)
    return TracedBody(trace.nodes, states, after, scans, steps_of(trace.nodes, numbers, length), length, counters)
