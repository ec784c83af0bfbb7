"""Converts loops that are not GRUs to nodes of our own, whose body is converted once and runs once per iteration."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.graphbuilder import BuiltNode, Value, build_body
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.iterations import Step, count_iterations, steps_of
from fastgru.importers.onnx.loops.trips import trip_count
from fastgru.importers.onnx.registry import OnnxNode
from fastgru.reference.facts import ValueFacts
from fastgru.reference.sizes import Size

__all__ = ["native_loop"]

_MOST_TRACES: Final = 4  # by then the states must be as large as the body makes them


def native_loop(node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm, *, steady: bool = False) -> list[Value]:
    """Emit one node for the loop and return its outputs.

    Raises `UnsupportedModelError` for a body that cannot be read. steady: raise also for a body in which shapes seem to
    depend on the data, such as those of a slice up to the iteration.
    """
    first = list(form.states)
    for _ in range(_MOST_TRACES):
        loop = _Converted(node, build, form, first)
        if steady and any(map(_makes_its_shape, loop.nodes)):
            raise node.unsupported("shapes in its body depend on the data", "give them fixed sizes")
        if not loop.grow():
            return loop.outputs()
        first = loop.first
    raise node.unsupported("its states grow", "give every state its full size from the start")


class _Converted:
    """A loop whose body is converted to nodes of our own.

    first: the initial states, which may be larger than those of the file. before, after: the states in the body; a
    state that no iteration changes is the same value in both. slices, steps: the values that are one step of a sequence
    in each iteration, and the steps that they are.
    """

    def __init__(self, node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm, first: Sequence[Value]) -> None:
        self.node, self.build, self.form, self.first = node, build, form, list(first)
        self.before = [
            v if form.keeps(i) else Value(f"{v.hint}/before", ValueFacts(v.dtype, v.sizes)) for i, v in enumerate(first)
        ]
        self.iteration = Value("iteration", ValueFacts("int64", ()))
        self.steps = [Step(x, a, b) for x, a, b in zip(form.sequences, form.axes, form.backward, strict=True)]
        self.slices = [_slice_of(step) for step in self.steps]
        with node.around.tracing() as trace:
            given = [self.iteration, trace.constant(np.array(True)), *self.before] if form.is_loop else self.before
            outputs = node.around.run_body(form.body, [*given, *self.slices], f"{node.site.name}/", node.site)
        self.nodes: Sequence[BuiltNode] = trace.nodes
        self.after = outputs[form.first_state : form.first_scan]
        self.scans = outputs[form.first_scan :]
        self.going = _unless_true(outputs[0]) if form.is_loop else None
        self.condition = _unless_true(form.condition)
        self.limit = node.optional(0) if form.is_loop else None
        self.trips = form.limit if form.is_loop and self.going is None and self.condition is None else None
        if not form.is_loop:
            self.trips = form.limit
        elif form.condition is None or form.condition.array is not None or form.condition.dtype == "bool":
            self._count(outputs[0])

    def _count(self, going: Value) -> None:
        """Remove a condition that only counts iterations, and gathers that read the step of each iteration."""
        numbers = count_iterations(self.nodes, self.iteration, self.before, self.after, self.first)
        outer = self.build.nodes
        trips = trip_count(self.form, going, [*self.nodes, *outer], outer, numbers)
        if trips is None:
            return
        makers = {id(v): n for n in self.nodes for v in n.outputs}
        for key, step in steps_of(self.nodes, numbers, trips).items():
            maker, sizes = makers[key], step.whole.sizes or ()
            if maker.op == "gather" and sizes[step.axis] == trips and maker.outputs[0].rank == len(sizes) - 1:
                self.slices.append(maker.outputs[0])
                self.steps.append(step)
        self.nodes = [n for n in self.nodes if n.outputs[0] not in self.slices]
        limit = self.build.integers(trips) if isinstance(trips, int) else self.limit
        if self.steps:
            limit = None
        elif trips != self.form.limit and not isinstance(trips, int):
            limit = self._size(trips)
            if limit is None:
                return
        self.trips, self.limit, self.going, self.condition = trips, limit, None, None

    def _size(self, size: Size) -> Value | None:
        """Return a value that has this size, taken from the shape of something that the loop reads, or None."""
        if isinstance(size, int):
            return self.build.integers(size)
        made = {v for n in self.nodes for v in n.outputs}.union(self.before, self.slices)
        reads = [v for n in self.nodes for v in n.inputs if v is not None and v not in made]
        for value in (*(step.whole for step in self.steps), *self.first, *reads):
            if size is not None and size in (value.sizes or ()):
                axis = (value.sizes or ()).index(size)
                return self.build.emit("shape", value, start=axis, end=axis + 1)
        return None

    def grow(self) -> bool:
        """Broadcast initial states to the shapes that the body gives them; return whether any changed."""
        grown = False
        for i, (a, b) in enumerate(zip(self.before, self.after, strict=True)):
            if a is b or a.sizes is None or b.sizes is None:
                continue
            pairs = list(zip(a.sizes, b.sizes, strict=False))
            wider = [k for k, (m, n) in enumerate(pairs) if m == 1 and n is not None and n != 1]
            clash = any(isinstance(m, int) and isinstance(n, int) and m != n for m, n in pairs if m != 1)
            if clash or a.rank != b.rank or a.dtype != b.dtype:
                raise self._unsteady(i, a, b)
            sizes = [self._size(b.sizes[k] if k in wider else m) for k, m in enumerate(a.sizes)] if wider else [None]
            if all(size is not None for size in sizes):
                self.first[i] = self._expanded(self.first[i], [s for s in sizes if s is not None], b.sizes)
                grown = True
        return grown

    def _unsteady(self, i: int, a: Value, b: Value) -> UnsupportedModelError:
        return self.node.unsupported(
            f"state {i} is {a.dtype} ({', '.join(map(str, a.sizes or ()))}) before an iteration and {b.dtype}"
            f" ({', '.join(map(str, b.sizes or ()))}) after it, and a carried state keeps its shape",
            "give it its full size from the start, or export a fixed number of iterations unrolled",
        )

    def _expanded(self, value: Value, sizes: Sequence[Value], to: Sequence[Size]) -> Value:
        build = self.build
        build.node_name = self.node.site.name
        one = build.integers([1])
        wide = build.emit(
            "expand", value, build.emit("concat", *(build.emit("reshape", s, one) for s in sizes), axis=0)
        )
        known = tuple(n if m == 1 else m for m, n in zip(value.sizes or (), to, strict=True))
        wide.facts = replace(wide.facts, sizes=known)
        return wide

    def outputs(self) -> list[Value]:
        """Emit the loop node; return the last states, then the stacked outputs."""
        build, form, node = self.build, self.form, self.node
        carried = [i for i, (a, b) in enumerate(zip(self.before, self.after, strict=True)) if a is not b]
        self._replace({self.before[i]: self.first[i] for i, _ in enumerate(self.before) if i not in carried})
        own = [self.iteration, *(self.before[i] for i in carried), *self.slices]
        self._hoist(own)
        body = build_body(own, [self.going, *(self.after[i] for i in carried), *self.scans], self.nodes)
        axes = [int(axis) for axis in form.output_axes or [0] * len(self.scans)]
        attrs: dict[str, Any] = {
            "body": body, "states": len(carried), "axes": [step.axis for step in self.steps],
            "backward": [step.backward for step in self.steps],
            "output_axes": axes,
            "output_backward": list(form.output_backward or [False] * len(self.scans)),
        }  # fmt: skip
        last = {i: Value(self.after[i].hint, ValueFacts(self.first[i].dtype, self.first[i].sizes)) for i in carried}
        stacked = [self._stacked(row, axis) for row, axis in zip(self.scans, axes, strict=True)]
        build.node_name = node.site.name
        inputs = [self.limit, self.condition, *(self.first[i] for i in carried), *(step.whole for step in self.steps)]
        build.keep("loop", [*inputs, *body.captured], [*last.values(), *stacked], attrs)
        return [*(last.get(i, first) for i, first in enumerate(self.first)), *stacked]

    def _stacked(self, row: Value, axis: int) -> Value:
        sizes = row.sizes
        if sizes is not None:
            at = axis % (len(sizes) + 1)
            sizes = (*sizes[:at], self.trips, *sizes[at:])
        return Value(row.hint, ValueFacts(row.dtype, sizes))

    def _replace(self, instead: dict[Value, Value]) -> None:
        self.nodes = [
            replace(n, inputs=tuple(None if v is None else instead.get(v, v) for v in n.inputs)) for n in self.nodes
        ]
        self.after, self.scans = ([instead.get(v, v) for v in values] for values in (self.after, self.scans))

    def _hoist(self, own: Sequence[Value]) -> None:
        """Move nodes that compute the same in every iteration to before the loop."""
        varying, inside = set(own), []
        for n in self.nodes:
            if varying.isdisjoint(v for v in n.inputs if v is not None):
                self.build.nodes.append(n)
            else:
                varying.update(n.outputs)
                inside.append(n)
        self.nodes = inside


def _makes_its_shape(node: BuiltNode) -> bool:
    """Return whether all input sizes are known, but not all output sizes: then these depend on the data."""

    def known(value: Value | None) -> bool:
        return value is None or (value.sizes is not None and None not in value.sizes)

    return all(map(known, node.inputs)) and not all(map(known, node.outputs))


def _slice_of(step: Step) -> Value:
    x, axis = step.whole, step.axis
    return Value(
        f"{x.hint}/step", ValueFacts(x.dtype, None if x.sizes is None else x.sizes[:axis] + x.sizes[axis + 1 :])
    )


def _unless_true(condition: Value | None) -> Value | None:
    known = None if condition is None else condition.array
    return None if known is not None and known.size == 1 and known.all() else condition
