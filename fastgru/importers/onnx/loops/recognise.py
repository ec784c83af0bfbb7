"""Loops over GRU cells become GRUs, whatever form the cell was written in; a projection behind it becomes a layer."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.affine import Atom
from fastgru.importers.onnx.loops.algebra import affine_forms
from fastgru.importers.onnx.loops.cell import FoundCell, find_cell
from fastgru.importers.onnx.loops.draws import Draw, draw
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.replacement import Replacement
from fastgru.importers.onnx.loops.trace import TracedBody, traced
from fastgru.importers.onnx.registry import OnnxNode

__all__ = ["recognise"]

_MAX_STATES: Final = 8
_MAX_BODY: Final = 400


def recognise(node: OnnxNode, build: OnnxGraphBuilder, form: LoopForm) -> list[Value] | None:
    """The outputs of the loop, None where its body is not made of GRU cells."""
    if not form.states or len(form.states) > _MAX_STATES or len(form.body.nodes) > _MAX_BODY:
        return None
    try:
        with node.around.tracing() as trace:
            body = traced(node, trace, build.nodes, form)
    except UnsupportedModelError:
        return None
    if body is None or len({step.backward for step in body.steps.values()}) != 1:
        return None
    left = body.open_states()
    atoms = body.atoms(left) if left else None
    if atoms is None:
        return None
    replacement, draws = Replacement(build, form, body, atoms), draw(body, atoms)
    while left:
        _, activations = affine_forms(body.nodes, atoms)
        for i in left:
            cell = _cell(body, i, atoms, activations, draws)
            if cell is not None and replacement.add(i, cell):
                break
        else:
            return None
        left.remove(i)
    forms, _ = affine_forms(body.nodes, atoms)
    return replacement.outputs([node.wants(i) for i in range(len(form.states) + form.num_scans)], forms)


def _cell(
    body: TracedBody, i: int, atoms: Mapping[int, Atom], activations: Sequence[Atom], draws: Sequence[Draw]
) -> FoundCell | None:
    """The cell that one state is of."""
    before, after = body.states[i], body.next_states[i]
    state = atoms[id(before)]
    if any(id(after) not in known or known[id(after)].shape != known[id(before)].shape for known in draws):
        return None
    states = {id(v) for v in body.states}
    sources = [atom for key, atom in atoms.items() if key not in states]
    rows = [
        (
            {atom: known[key].reshape(-1, atom.width) for key, atom in atoms.items() if key in known},
            known[id(after)].reshape(-1, state.width),
        )
        for known in draws
    ]
    if any(len(a) != len(after_rows) for known, after_rows in rows for a in known.values()):
        return None
    return find_cell(state, activations, sources, rows)
