"""What stands in the graph for a loop: a GRU for each state that is a cell's, and a layer for what it stacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.importers.onnx.loops.cell import FoundCell
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.trace import TracedBody
from fastgru.reference.operator import numpy_dtype

__all__ = ["Replacement"]


class Replacement:
    """Collects the GRUs that are found, then gives the loop's outputs.

    atoms: of what comes into the body, by id; of each state that is found, what it is after an iteration joins them.
    """

    def __init__(self, build: OnnxGraphBuilder, form: LoopForm, body: TracedBody, atoms: dict[int, Atom]) -> None:
        self._build, self._form, self._body, self._atoms = build, form, body, atoms
        self._backward = next(iter(body.steps.values())).backward
        self._sequences: dict[Atom, Value] = {}
        self._layers: dict[int, tuple[Value, ...]] = {}

    def add(self, i: int, cell: FoundCell) -> bool:
        """The GRU of a state; False, and nothing done, where a sequence that it reads has no form that a GRU takes."""
        inputs = [self._sequence(atom) for atom in cell.sources]
        if any(x is None for x in inputs):
            return False
        self._layers[i] = self._gru(i, cell, [x for x in inputs if x is not None])
        before, after = self._body.states[i], self._body.next_states[i]
        made = self._atoms[id(after)] = Atom(self._atoms[id(before)].width, name=after.hint)
        self._sequences[made] = self._layers[i][0]
        return True

    def _sequence(self, atom: Atom) -> Value | None:
        """What an atom is over all iterations, (T, N, its width) in the order of time."""
        if atom not in self._sequences:
            key = next(key for key, a in self._atoms.items() if a is atom)
            x = self._body.steps[key].sequence(self._build, self._body.length)
            if x is None:
                return None
            self._sequences[atom] = x
        return self._sequences[atom]

    def _gru(self, i: int, cell: FoundCell, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """y (T, N, H) and h_n (1, N, H)."""
        build, init = self._build, self._form.states[i]
        x = inputs[0] if len(inputs) == 1 else build.emit("concat", *inputs, axis=2)
        h0 = init
        if init.rank != 3:
            h0 = build.emit("unsqueeze", init, axes=[0, 1] if init.rank == 1 else [0])
        sizes, batch = h0.sizes, x.sizes
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
        return build.emit_all("gru", [x, h0, None, None, *weights], 2, {"spec": fields})

    def outputs(self, wanted: Sequence[bool], forms: Mapping[int, AffineForm]) -> list[Value] | None:
        """The loop's outputs, or something else where one is not wanted; None for one that is no GRU's or layer's.

        forms: of the values of the body, by id.
        """
        form, build, outputs = self._form, self._build, []
        for i, init in enumerate(form.states):
            if i in self._layers:
                _, h_n = self._layers[i]
                squeezed = {1: [0, 1], 2: [0]}.get(init.rank or 0)
                outputs.append(build.emit("squeeze", h_n, axes=squeezed) if squeezed else h_n)
            elif self._body.next_states[i] is self._body.states[i] or not wanted[i]:
                outputs.append(init)
            elif i in self._body.counters:
                outputs.append(self._counted(init))
            else:
                return None
        for k, value in enumerate(self._body.scans):
            stacked = self._stacked(k, value, forms.get(id(value))) if wanted[len(form.states) + k] else init
            if stacked is None:
                return None
            outputs.append(stacked)
        return outputs

    def _counted(self, init: Value) -> Value:
        """A counter after the last iteration."""
        build, (y, _) = self._build, next(iter(self._layers.values()))
        count = build.emit("shape", y, start=0, end=1)
        if init.rank == 0:
            count = build.emit("squeeze", count, axes=[0])
        if init.dtype != "int64":
            count = build.emit("cast", count, to=init.dtype)
        return build.emit("binary", init, count, kind="add")

    def _stacked(self, k: int, value: Value, form: AffineForm | None) -> Value | None:
        """A stacked output: the states themselves, or an affine function of them and of the inputs."""
        atoms = self._atoms
        if form is None or value.rank not in (1, 2, 3) or not form.terms or not set(form.terms) <= set(atoms.values()):
            return None
        states = {atoms[id(v)] for v in self._body.states if id(v) in atoms}
        if states & set(form.terms):
            return None
        build = self._build
        every = [self._sequence(atom) for atom in form.terms]
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
        forward = self._form.is_loop or not self._form.output_backward[k]
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
