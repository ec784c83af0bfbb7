"""Loops over GRU cells become GRUs, whatever form the cell was written in; a projection behind it becomes a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.graph import Node
from fastgru.importers.onnx.builder import Builder, Emitted
from fastgru.importers.onnx.loops.affine import Atom, Form, affine_forms
from fastgru.importers.onnx.loops.cell import Cell, find_cell
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.iterations import Step, count_iterations, scan_steps, steps_of, trip_count
from fastgru.importers.onnx.node import OnnxNode
from fastgru.importers.onnx.sizes import sizes_of
from fastgru.importers.onnx.values import Kind, Size, Value
from fastgru.reference import evaluate
from fastgru.reference.operator import is_floating, numpy_dtype

__all__ = ["recognise"]

Array = NDArray[Any]
Draw = dict[int, Array]

_ROWS: Final = 3
_SCALES: Final = (1.0, 4.0)
_MAX_STATES: Final = 8
_MAX_BODY: Final = 400


@dataclass
class _Body:
    """The body as nodes of ours: what it reads and gives, and what each value that comes in is."""

    nodes: list[Emitted]
    states: list[Value]
    next_states: list[Value]
    scans: list[Value]
    steps: dict[int, Step]
    length: Size
    counters: frozenset[int] = frozenset()


@dataclass
class _Layer:
    """A recognised state: its cell, and then its outputs y (T, N, H) and h_n (1, N, H)."""

    state: int
    cell: Cell
    y: Value
    h_n: Value


def recognise(node: OnnxNode, build: Builder, form: LoopForm) -> list[Value] | None:
    """The outputs of the loop, None where its body is not made of GRU cells."""
    if not form.states or len(form.states) > _MAX_STATES or len(form.body.nodes) > _MAX_BODY:
        return None
    try:
        with node.around.tracing() as trace:
            body = _traced(node, trace, build.nodes, form)
    except UnsupportedModelError:
        return None
    if body is None or not body.steps:
        return None
    outputs = len(form.states) + form.num_scans
    return _Recogniser(build, form, body, [node.wants(i) for i in range(outputs)]).run()


def _traced(node: OnnxNode, trace: Builder, outer: Sequence[Emitted], form: LoopForm) -> _Body | None:
    states = [
        v if form.keeps(i) else Value(v.kind, v.hint, sizes=v.sizes or sizes_of(v)) for i, v in enumerate(form.states)
    ]
    iteration = Value(Kind("int64", 0), "iteration")
    if form.is_loop:
        given = [iteration, trace.constant(np.array(True)), *states]
    else:
        rows = scan_steps(form)
        if rows is None:
            return None
        given = [*states, *(value for value, _ in rows)]
    outputs = node.around.run_body(form.body, given, "", node.site)
    after = outputs[form.first_state : form.first_scan]
    if not form.is_loop:
        steps = {id(value): step for value, step in rows or ()}
        return _Body(trace.nodes, states, after, outputs[form.first_scan :], steps, form.limit)
    numbers = count_iterations(trace.nodes, iteration, states, after, form.states)
    length = trip_count(form, outputs[0], trace.nodes, outer, numbers)
    if length is None:
        return None
    steps = steps_of(trace.nodes, numbers, length)
    counters = frozenset(i for i, state in enumerate(states) if id(state) in numbers)
    return _Body(trace.nodes, states, after, outputs[form.first_scan :], steps, length, counters)


class _Recogniser:
    def __init__(self, build: Builder, form: LoopForm, body: _Body, wanted: Sequence[bool]) -> None:
        self._build, self._form, self._body, self._wanted = build, form, body, wanted
        self._layers: dict[int, _Layer] = {}
        self._sequences: dict[Atom, Value] = {}
        steps = list(body.steps.values())
        self._backward = steps[0].backward
        self._uniform = all(step.backward == self._backward for step in steps)

    def run(self) -> list[Value] | None:
        body = self._body
        # What passes through unchanged, or counts, needs no cell.
        open_states = [
            i
            for i, (before, after) in enumerate(zip(body.states, body.next_states, strict=True))
            if before is not after and (before.dtype or "").startswith(("float", "bfloat"))
        ]
        if not self._uniform or not open_states:
            return None
        atoms = self._atoms(open_states)
        if atoms is None:
            return None
        draws = self._draws(atoms)
        while open_states:
            forms, activations = affine_forms(body.nodes, atoms)
            found = next((i for i in open_states if self._layer(i, atoms, activations, draws)), None)
            if found is None:
                return None
            open_states.remove(found)
            after = body.next_states[found]
            atoms[id(after)] = Atom(atoms[id(body.states[found])].width, name=after.hint)
            self._sequences[atoms[id(after)]] = self._layers[found].y
        forms, _ = affine_forms(body.nodes, atoms)
        return self._outputs(atoms, forms)

    def _atoms(self, open_states: Sequence[int]) -> dict[int, Atom] | None:
        atoms = {}
        coming = [self._body.states[i] for i in open_states]
        by_id = {id(v): v for node in self._body.nodes for v in (*node.inputs, *node.outputs) if v is not None}
        reads = [by_id[key] for key in self._body.steps if key in by_id]
        coming += [value for value in reads if (value.dtype or "").startswith(("float", "bfloat"))]
        for value in coming:
            width = self._width(value)
            if width is None or value.rank not in (1, 2, 3):
                return None
            atoms[id(value)] = Atom(width, name=value.hint)
        return atoms

    def _width(self, value: Value) -> int | None:
        sizes = sizes_of(value)
        if sizes and isinstance(sizes[-1], int):
            return sizes[-1] or None
        for node in self._body.nodes:
            if node.op == "linear" and node.inputs[0] is value and node.inputs[1] is not None:
                weight = node.inputs[1].array
                return None if weight is None or weight.ndim != 2 else int(weight.shape[1])
        return None

    def _draws(self, atoms: Mapping[int, Atom]) -> list[Draw]:
        """Random numbers for what comes in, and every value of the body that follows from them, by id."""
        rng = np.random.default_rng(0)
        by_id = {id(v): v for node in self._body.nodes for v in (*node.inputs, *node.outputs) if v is not None}
        draws = []
        for scale in _SCALES:
            known: Draw = {}
            for key, atom in atoms.items():
                rank = by_id[key].rank if key in by_id else 2
                shape = {1: (atom.width,), 2: (_ROWS, atom.width), 3: (1, _ROWS, atom.width)}[rank or 2]
                known[key] = scale * rng.standard_normal(shape)
            for node in self._body.nodes:
                _compute(node, known)
            draws.append(known)
        return draws

    def _layer(self, i: int, atoms: Mapping[int, Atom], activations: Sequence[Atom], draws: Sequence[Draw]) -> bool:
        """Try to recognise one state; on success its GRU stands in the graph."""
        body = self._body
        before, after = body.states[i], body.next_states[i]
        state = atoms[id(before)]
        if any(id(after) not in draw or draw[id(after)].shape != draw[id(before)].shape for draw in draws):
            return False
        states = {id(v) for v in body.states}
        sources = [atom for key, atom in atoms.items() if key not in states]
        rows = [
            (
                {atom: draw[key].reshape(-1, atom.width) for key, atom in atoms.items() if key in draw},
                draw[id(after)].reshape(-1, state.width),
            )
            for draw in draws
        ]
        if any(len(a) != len(after_rows) for known, after_rows in rows for a in known.values()):
            return False
        cell = find_cell(state, activations, sources, rows)
        if cell is None:
            return False
        inputs = [self._sequence(atom, atoms) for atom in cell.sources]
        if any(x is None for x in inputs):
            return False
        self._layers[i] = self._emit(i, cell, [x for x in inputs if x is not None])
        return True

    def _sequence(self, atom: Atom, atoms: Mapping[int, Atom]) -> Value | None:
        """What an atom is over all iterations, (T, N, its width) in the order of time."""
        if atom not in self._sequences:
            key = next(key for key, a in atoms.items() if a is atom)
            x = self._body.steps[key].sequence(self._build, self._body.length)
            if x is None:
                return None
            self._sequences[atom] = x
        return self._sequences[atom]

    def _emit(self, i: int, cell: Cell, inputs: Sequence[Value]) -> _Layer:
        build, init = self._build, self._form.states[i]
        x = inputs[0] if len(inputs) == 1 else build.emit("concat", *inputs, axis=2)
        h0 = init
        if init.rank != 3:
            h0 = build.emit("unsqueeze", init, axes=[0, 1] if init.rank == 1 else [0])
        sizes, batch = sizes_of(h0), sizes_of(x)
        if sizes is not None and sizes[1] == 1 and (batch is None or batch[1] != 1):
            rows = build.emit("shape", x, start=1, end=2)
            one, width = build.integers([1]), build.integers([cell.spec.hidden_size])
            h0 = build.emit("expand", h0, build.emit("concat", one, rows, width, axis=0))
        fields = {**cell.spec.to_dict(), "direction": "reverse" if self._backward else "forward"}
        dtype = numpy_dtype(init.dtype or "float32")
        weights = [
            None if a is None else build.constant(_narrowed(a, dtype), f"{build.node_name}.{name}.{i}")
            for name, a in vars(cell.weights).items()
        ]
        y, h_n = build.emit_all("gru", [x, h0, None, None, *weights], 2, {"spec": fields})
        return _Layer(i, cell, y, h_n)

    def _outputs(self, atoms: Mapping[int, Atom], forms: Mapping[int, Form]) -> list[Value] | None:
        form, build, outputs = self._form, self._build, []
        wanted = self._wanted
        for i, init in enumerate(form.states):
            if i in self._layers:
                h_n = self._layers[i].h_n
                squeezed = {1: [0, 1], 2: [0]}.get(init.rank or 0)
                outputs.append(build.emit("squeeze", h_n, axes=squeezed) if squeezed else h_n)
            elif self._body.next_states[i] is self._body.states[i] or not wanted[i]:
                outputs.append(init)
            elif i in self._body.counters:
                outputs.append(self._counted(init))
            else:
                return None
        for k, value in enumerate(self._body.scans):
            stacked = self._stacked(k, value, atoms, forms.get(id(value))) if wanted[len(form.states) + k] else init
            if stacked is None:
                return None
            outputs.append(stacked)
        return outputs

    def _counted(self, init: Value) -> Value:
        """A counter after the last iteration."""
        build, y = self._build, next(iter(self._layers.values())).y
        count = build.emit("shape", y, start=0, end=1)
        if init.rank == 0:
            count = build.emit("squeeze", count, axes=[0])
        if init.dtype != "int64":
            count = build.emit("cast", count, to=init.dtype)
        return build.emit("binary", init, count, kind="add")

    def _stacked(self, k: int, value: Value, atoms: Mapping[int, Atom], form: Form | None) -> Value | None:
        """A stacked output: the states themselves, or an affine function of them and of the inputs."""
        if form is None or value.rank not in (1, 2, 3) or not form.terms or not set(form.terms) <= set(atoms.values()):
            return None
        states = {atoms[id(v)] for v in self._body.states if id(v) in atoms}
        if states & set(form.terms):
            return None
        build = self._build
        every = [self._sequence(atom, atoms) for atom in form.terms]
        if any(x is None for x in every):
            return None
        y = [x for x in every if x is not None]
        if len(y) == 1 and next(iter(form.terms.values())) is None and not form.bias.any():
            result = y[0]
        else:
            dtype = numpy_dtype(value.dtype or "float32")
            joined = y[0] if len(y) == 1 else build.emit("concat", *y, axis=2)
            weight = np.concatenate([form.matrix(atom) for atom in form.terms]).T
            bias = np.ascontiguousarray(form.wide_bias())
            result = build.emit(
                "linear", joined, build.constant(_narrowed(weight, dtype)), build.constant(_narrowed(bias, dtype))
            )
        forward = not (self._form.output_backward[k] if not self._form.is_loop else False)
        if forward == self._backward:
            ends = [build.integers([n]) for n in (-1, -(1 << 62), 0, -1)]
            result = build.emit("slice", result, *ends)
        if value.rank != 2:
            result = build.emit("squeeze" if value.rank == 1 else "unsqueeze", result, axes=[1])
        axis = 0 if self._form.is_loop else self._form.output_axes[k] % (value.rank + 1)
        if axis:
            perm = [*range(1, axis + 1), 0, *range(axis + 1, value.rank + 1)]
            result = build.emit("transpose", result, perm=perm)
        return result


def _narrowed(array: Array, dtype: np.dtype[Any]) -> Array:
    """In the dtype of the file where that holds every value; sums of its weights stay as they are."""
    narrow = array.astype(dtype)
    return narrow if np.array_equal(narrow.astype(array.dtype), array) else array


def _compute(node: Emitted, known: Draw) -> None:
    """The outputs of a node in float64, where all it reads is known."""
    arrays: list[Array | None] = []
    for value in node.inputs:
        if value is None:
            arrays.append(None)
        elif id(value) in known:
            arrays.append(known[id(value)])
        elif value.array is not None:
            arrays.append(value.array.astype(np.float64) if is_floating(value.array.dtype) else value.array)
        else:
            return
    attrs = dict(node.attrs)
    key = {"cast": "to", "constant_of_shape": "dtype"}.get(node.op)
    if key is not None and is_floating(numpy_dtype(attrs[key])):
        attrs[key] = "float64"
    names = tuple("" if a is None else "x" for a in arrays)
    try:
        results = evaluate(Node(node.op, names, ("",) * len(node.outputs), attrs), arrays, max_elements=1 << 22)
    except FastGRUError:
        return
    for value, array in zip(node.outputs, results, strict=False):
        known.setdefault(id(value), array)
