"""Converts loops over GRU cells, however these are written, to GRUs, and projections after a cell to linear layers."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastgru.arrays import Array
from fastgru.errors import UnsupportedModelError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.importers.onnx.loops.algebra import affine_forms
from fastgru.importers.onnx.loops.cell import FoundCell, Seen, find_cell
from fastgru.importers.onnx.loops.draws import Draw, trials
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.layout import Layout, rows_first
from fastgru.importers.onnx.loops.masks import Visibility, held_state, is_zero, visibility
from fastgru.importers.onnx.loops.replacement import Replacement
from fastgru.importers.onnx.loops.trace import TracedBody, traced
from fastgru.importers.onnx.registry import OnnxNode

__all__ = ["recognise"]


_MAX_STATES: Final = 8
_MAX_BODY: Final = 400


def recognise(node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm) -> list[Value] | None:
    """Return the outputs of the loop, or None if its body does not consist of GRU cells."""
    if len(form.body.nodes) > _MAX_BODY:
        return None
    try:
        with node.around.tracing() as trace:
            body = traced(node, trace, build.nodes, form)
    except UnsupportedModelError:
        return None
    if body is None or len({step.backward for step in body.steps.values()}) != 1:
        return None
    left = body.open_states()
    if len(left) > _MAX_STATES:
        return None
    for tried in trials(body, body.coming(left)):
        seen = visibility(body, tried, left)
        marks = len(build.nodes)
        build.nodes.extend(body.fixed)  # a sequence may depend on them; unread nodes are dropped in the end
        outputs = None if seen is None else _Search(node, build, form, body, seen).outputs()
        if outputs is not None:
            return outputs
        del build.nodes[marks:]
    return None


class _Search:
    """The search for GRU cells in one body."""

    def __init__(
        self, node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm, body: TracedBody, seen: Visibility
    ) -> None:
        self._form, self._body, self._visible = form, body, seen
        self._trial, self._draws = seen.seen
        self._open = body.open_states()
        self._wanted = [node.wants(i) for i in range(len(form.states) + form.num_scans)]
        self._atoms: dict[int, Atom] = {}
        self._forms: dict[int, AffineForm] = {}
        for key, layout in self._trial.coming.items():
            self._atoms[key] = Atom(layout.width)
            self._forms[key] = layout.form(self._atoms[key], self._trial.rows)
        self._states = {self._atoms[id(v)] for v in body.states if id(v) in self._atoms}
        self._hidden_forms: dict[int, AffineForm] | None = None
        self._replacement = Replacement(build, form, body, self._trial.coming, self._atoms)
        if seen.hidden is not None:
            self._replacement.mask = seen.mask(build, body, self._replacement.length())

    def outputs(self) -> list[Value] | None:
        """Return the outputs of the loop, or None if one of them does not come from a GRU."""
        body, masked = self._body, self._visible.hidden is not None
        if masked and not self._masks():
            return None
        left, forms = list(self._open), self._known()
        while left:
            for i in left:
                cell = self._cell(i, forms)
                made = Atom(self._layout(body.states[i]).width)
                if cell is not None and self._replacement.add(i, cell, made):
                    self._name(i, made, forms)
                    break
            else:
                break
            left.remove(i)
            shown = [v for k, v in enumerate(body.scans) if self._wanted[len(self._form.states) + k]]
            forms = self._known() if left or any(id(v) not in self._forms for v in shown) else dict(self._forms)
        readable = {
            key: form
            for key, form in forms.items()
            if not self._states & set(form.terms) and (not masked or _plain(form))
        }
        for i in left:
            after = body.next_states[i]
            if id(after) in readable and (not masked or self._hides(after) == self._replacement.mask_output):
                self._replacement.follow(i, readable[id(after)])
        return self._replacement.outputs(self._wanted, readable)

    def _layout(self, value: Value) -> Layout:
        return self._trial.coming[id(value)]

    def _known(self) -> dict[int, AffineForm]:
        return affine_forms(self._body.nodes, self._forms, self._trial.fixed, self._trial.rows)

    def _cell(self, i: int, forms: Mapping[int, AffineForm]) -> FoundCell | None:
        """Return the cell that computes state `i`, or None."""
        body, layout = self._body, self._layout(self._body.states[i])
        state, after = self._atoms[id(body.states[i])], id(body.next_states[i])
        if self._visible.hidden is not None and not held_state(body, i, self._visible.hidden[1]):
            return None
        rows = []
        for known in self._draws:
            if after not in known or known[after].shape != layout.shape(self._trial.rows):
                return None
            inputs = {
                atom: self._numbers(known, key, self._forms[key]) for key, atom in self._atoms.items() if key in known
            }
            rows.append(({a: n for a, n in inputs.items() if n is not None}, layout.rows_of(known[after])))
        if any(state not in known for known, _ in rows):  # the state has one row, but the batch has several
            return None
        seen = []
        for node in body.nodes:
            for value in node.outputs:
                form = forms.get(id(value))
                if form is not None and form.width == state.width and form.terms and id(value) in self._draws[0]:
                    numbers = self._numbers(self._draws[0], id(value), form)
                    if numbers is not None:
                        seen.append(Seen(form, numbers))
        sources = [a for a in self._atoms.values() if a not in self._states and all(a in known for known, _ in rows)]
        return find_cell(state, seen, sources, rows)

    def _numbers(self, known: Draw, key: int, form: AffineForm) -> Array | None:
        """Return a value as (rows, features); None if it has no batch axis and there are several rows."""
        array, rows = known[key], self._trial.rows
        if form.axis is None:
            return array.reshape(1, -1) if rows == 1 else None
        return rows_first(array, form.axis)

    def _name(self, i: int, made: Atom, forms: Mapping[int, AffineForm]) -> None:
        """Make a state that was found, and every value with the same numbers, one atom."""
        layout, after = self._layout(self._body.states[i]), id(self._body.next_states[i])
        self._atoms[after], self._forms[after] = made, layout.form(made, self._trial.rows)
        state = [layout.rows_of(known[after]) for known in self._draws]
        for key, form in forms.items():
            if form.width == made.width and key not in self._atoms and self._same(key, form, state):
                self._forms[key] = AffineForm.of(made, form.shape, form.axis)

    def _same(self, key: int, form: AffineForm, expected: Sequence[Array]) -> bool:
        """Return whether a value has the expected numbers, (rows, features), in every draw."""
        for known, rows in zip(self._draws, expected, strict=True):
            numbers = self._numbers(known, key, form) if key in known else None
            if numbers is None or numbers.shape != rows.shape or numbers[0, 0] != rows[0, 0]:
                return False
            if not (numbers == rows).all():
                return False
        return True

    def _hides(self, value: Value) -> str | None:
        """Return what a value is at a hidden step: "zero", "carry" (the previous value, at first zeros), or None."""
        assert self._visible.hidden is not None
        trial, draws = self._visible.hidden
        if is_zero(value, draws):
            return "zero"
        if self._hidden_forms is None:
            self._hidden_forms = affine_forms(self._body.nodes, self._forms, trial.fixed, trial.rows)
        form = self._hidden_forms.get(id(value))
        held = [i for i in self._open if form is not None and self._atoms[id(self._body.states[i])] in form.terms]
        return "carry" if _plain(form) and held and self._starts_at_zero(held[0]) else None

    def _starts_at_zero(self, i: int) -> bool:
        array = self._trial.outside.array(self._form.states[i])
        return array is not None and not array.any()

    def _masks(self) -> bool:
        """Set the mask and its output; return False if no GRU gives what the loop gives at hidden steps."""
        body, replacement = self._body, self._replacement
        shown = [v for k, v in enumerate(body.scans) if self._wanted[len(self._form.states) + k]]
        assert self._visible.hidden is not None
        draws = self._visible.hidden[1]
        shown += [body.next_states[i] for i in self._open if not held_state(body, i, draws)]
        kinds = {self._hides(value) for value in shown}
        replacement.mask = self._visible.mask(replacement.build, body, replacement.length())
        replacement.mask_output = next((kind for kind in kinds if kind), "carry")
        return replacement.mask is not None and len(kinds) <= 1 and None not in kinds


def _plain(form: AffineForm | None) -> bool:
    """Return whether a form is one atom and nothing else."""
    if form is None or len(form.terms) != 1:
        return False
    (scale,) = form.terms.values()
    return scale.ndim == 1 and bool((scale == 1).all()) and not form.bias.any()
