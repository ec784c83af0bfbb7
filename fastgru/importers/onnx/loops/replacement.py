"""Builds the nodes that replace a loop: a GRU for each state of a cell, and linear layers for its other outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.importers.onnx.loops.cell import FoundCell
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.layout import Layout
from fastgru.importers.onnx.loops.trace import TracedBody
from fastgru.reference.operator import numpy_dtype

__all__ = ["Replacement"]


class Replacement:
    """Collects the GRUs that are found, then returns the loop's outputs.

    layouts, atoms: of the values that come into an iteration, by id.
    mask: true for steps that count, (T, N) or (T, 1). mask_output: see `GRUSpec`.
    """

    def __init__(
        self,
        build: OnnxGraphBuilder,
        form: LoopForm,
        body: TracedBody,
        layouts: Mapping[int, Layout],
        atoms: Mapping[int, Atom],
    ) -> None:
        self.build, self._form, self._body, self._layouts = build, form, body, layouts
        self._keys = {atom: key for key, atom in atoms.items()}
        self._backward = any(step.backward for step in body.steps.values())
        self._sequences: dict[Atom, Value] = {}
        self._finals: dict[int, Value] = {}
        self.mask: Value | None = None
        self.mask_output = "zero"

    def add(self, i: int, cell: FoundCell, made: Atom) -> bool:
        """Add the GRU of state `i`; return False, adding no GRU, if its input is not a sequence that a GRU can read.

        made: the atom of the state after an iteration.
        """
        build, layout = self.build, self._layouts[id(self._body.states[i])]
        x = self._joined(cell.sources)
        if x is None:
            return False
        init = build.emit("unsqueeze", self._form.states[i], axes=[0])
        h0 = self._wide(layout.gathered(build, init), x, 0, cell.spec.hidden_size)
        fields = {**cell.spec.to_dict(), "direction": "reverse" if self._backward else "forward"}
        mask = self.mask
        if mask is not None:
            fields["mask_output"] = self.mask_output
            mask = build.emit("expand", mask, build.emit("shape", x, start=0, end=2))
        dtype = numpy_dtype(init.dtype or "float32")
        weights = [
            None if a is None else build.constant(_narrowed(a, dtype), f"{build.node_name}.{name}.{i}")
            for name, a in vars(cell.weights).items()
        ]
        self._sequences[made], h_n = build.emit_all("gru", [x, h0, None, mask, *weights], 2, {"spec": fields})
        self._finals[i] = build.emit("squeeze", layout.spread(build, h_n), axes=[0])
        return True

    def _wide(self, h0: Value, x: Value, axis: int, width: int) -> Value:
        """Broadcast a state of one row (1, 1, H) to all rows of x."""
        sizes, batch = h0.sizes, x.sizes
        if sizes is None or sizes[1] != 1 or (batch is not None and batch[1] == 1):
            return h0
        rows, one = self.build.emit("shape", x, start=1, end=2), self.build.integers([1])
        target = self.build.emit("concat", one, rows, self.build.integers([width]), axis=0)
        return self.build.emit("expand", h0, target)

    def follow(self, i: int, form: AffineForm) -> bool:
        """Compute state `i` from its form over found states and inputs; return False if that is impossible."""
        layout, y = self._layouts[id(self._body.states[i])], self._computed(form, self._form.states[i])
        if y is None:
            return False
        at = self.build.constant(0 if self._backward else -1, dtype="int64")
        last = self.build.emit("unsqueeze", self.build.emit("gather", y, at, axis=0), axes=[0])
        self._finals[i] = self.build.emit("squeeze", layout.spread(self.build, last), axes=[0])
        return True

    def outputs(self, wanted: Sequence[bool], forms: Mapping[int, AffineForm]) -> list[Value] | None:
        """Return the loop's outputs, with placeholders for unwanted ones; None if one comes from no GRU or layer.

        forms: of the values of the body, by id.
        """
        form, outputs = self._form, []
        for i, init in enumerate(form.states):
            if i in self._finals:
                outputs.append(self._finals[i])
            elif self._body.next_states[i] is self._body.states[i] or not wanted[i]:
                outputs.append(init)
            elif id(self._body.states[i]) in self._body.numbers:
                outputs.append(self._counted(i, init))
            else:
                return None
        for k, value in enumerate(self._body.scans):
            if not wanted[len(form.states) + k]:
                outputs.append(self.build.constant(np.zeros(0, np.float32)))
                continue
            stacked = self._stacked(k, value, forms.get(id(value)))
            if stacked is None:
                return None
            outputs.append(stacked)
        return outputs

    def length(self) -> Value:
        """Return the number of iterations, a scalar."""
        build, length = self.build, self._body.length
        if isinstance(length, int):
            return build.constant(length, dtype="int64")
        step = next(s for s in self._body.steps.values() if (s.whole.sizes or ())[s.axis] == length)
        return build.emit("squeeze", build.emit("shape", step.whole, start=step.axis, end=step.axis + 1), axes=[0])

    def _counted(self, i: int, init: Value) -> Value:
        """Return the value of a counter after the last iteration."""
        build, number = self.build, self._body.numbers[id(self._body.states[i])]
        count = self.length()
        if number.slope != 1:
            count = build.emit("binary", count, build.constant(number.slope, dtype="int64"), kind="mul")
        if init.rank:
            count = build.emit("reshape", count, build.integers([1] * init.rank))
        if init.dtype != "int64":
            count = build.emit("cast", count, to=init.dtype)
        return build.emit("binary", init, count, kind="add")

    def _sequence(self, atom: Atom) -> Value | None:
        """Return an atom over all iterations, (T, N, width) in the order of time, or None."""
        if atom not in self._sequences:
            step = self._body.steps.get(self._keys.get(atom, 0))
            layout = self._layouts.get(self._keys.get(atom, 0))
            x = None if step is None or layout is None else step.sequence(self.build, self._body.length, layout)
            if x is None:
                return None
            self._sequences[atom] = x
        return self._sequences[atom]

    def _joined(self, atoms: Sequence[Atom]) -> Value | None:
        """Return several atoms over all iterations, concatenated along the last axis, or None."""
        found = [self._sequence(atom) for atom in atoms]
        every = [x for x in found if x is not None]
        if not every or len(every) < len(found):
            return None
        return every[0] if len(every) == 1 else self.build.emit("concat", *every, axis=2)

    def _computed(self, form: AffineForm, like: Value) -> Value | None:
        """Return a form over all iterations, (T, N, width), or None."""
        joined = self._joined(list(form.terms)) if form.terms else None
        if joined is None:
            return None
        (atom, *more) = form.terms
        if not more and form.terms[atom].ndim == 1 and (form.terms[atom] == 1).all() and not form.bias.any():
            return joined
        dtype = numpy_dtype(like.dtype or "float32")
        weight = np.concatenate([form.matrix(atom) for atom in form.terms]).T
        parameters = [self.build.constant(_narrowed(np.ascontiguousarray(a), dtype)) for a in (weight, form.bias)]
        return self.build.emit("linear", joined, *parameters)

    def _stacked(self, k: int, value: Value, form: AffineForm | None) -> Value | None:
        """Return a stacked output: the states themselves, or an affine function of states and inputs."""
        build = self.build
        result = None if form is None else self._computed(form, value)
        if form is None or result is None:
            return None
        layout = _layout(form)
        forward = self._form.is_loop or not self._form.output_backward[k]
        if forward == self._backward:
            ends = [build.integers([n]) for n in (-1, -(1 << 62), 0, -1)]
            result = build.emit("slice", result, *ends)
        result, rank = layout.spread(build, result), len(layout.sizes)
        axis = 0 if self._form.is_loop else self._form.output_axes[k] % (rank + 1)
        if axis:
            perm = [*range(1, axis + 1), 0, *range(axis + 1, rank + 1)]
            result = build.emit("transpose", result, perm=perm)
        return result


def _layout(form: AffineForm) -> Layout:
    """Return the layout of a form; if there is only one row, an axis of one element counts as the batch."""
    axis = form.axis
    if axis is None:
        axis = next((i for i in reversed(range(len(form.shape) - 1)) if form.shape[i] == 1), None)
    return Layout(tuple(None if i == form.axis else n for i, n in enumerate(form.shape)), axis)


def _narrowed(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return the array in the dtype of the file if this is exact, else unchanged, as for sums of weights."""
    if array.dtype == dtype:
        return array
    narrow = array.astype(dtype)
    return narrow if np.array_equal(narrow.astype(array.dtype), array) else array
