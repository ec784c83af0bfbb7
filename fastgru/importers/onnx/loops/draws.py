"""Random numbers through a loop's body, in float64: what tells one cell from another is tried, not read."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError
from fastgru.graph import Node
from fastgru.graphbuilder import BuiltNode
from fastgru.importers.onnx.loops.affine import Atom
from fastgru.importers.onnx.loops.trace import TracedBody
from fastgru.reference.evaluate import evaluate, in_precision
from fastgru.reference.operator import is_floating

__all__ = ["Draw", "draw"]

Draw = dict[int, Array]

_ROWS: Final = 3
_SCALES: Final = (1.0, 4.0)


def draw(body: TracedBody, atoms: Mapping[int, Atom]) -> list[Draw]:
    """Random numbers for what comes in, and every value of the body that follows from them, by id."""
    rng = np.random.default_rng(0)
    draws = []
    for scale in _SCALES:
        known: Draw = {}
        for key, atom in atoms.items():
            rank = body.values[key].rank if key in body.values else 2
            shape = {1: (atom.width,), 2: (_ROWS, atom.width), 3: (1, _ROWS, atom.width)}[rank or 2]
            known[key] = scale * rng.standard_normal(shape)
        for node in body.nodes:
            _compute(node, known)
        draws.append(known)
    return draws


def _compute(node: BuiltNode, known: Draw) -> None:
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
    names = tuple("" if a is None else "x" for a in arrays)
    plain = in_precision(Node(node.op, names, ("",) * len(node.outputs), dict(node.attrs)), "float64")
    try:
        results = evaluate(plain, arrays, max_elements=1 << 22)
    except FastGRUError:
        return
    for value, array in zip(node.outputs, results, strict=False):
        known.setdefault(id(value), array)
