"""A loop's body in numbers, float64: what follows from sizes alone, and random inputs, by which one cell is told from
another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError
from fastgru.graph import Node
from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.loops.layout import Layout, arrangements, layouts_of
from fastgru.importers.onnx.loops.trace import TracedBody
from fastgru.records import dataclass
from fastgru.reference.evaluate import evaluate, in_precision
from fastgru.reference.operator import OPS, is_floating, numpy_dtype
from fastgru.reference.sizes import Size

__all__ = ["Draw", "Trial", "trials"]

Draw = dict[int, Array]

# Activations are tried where they bend and where they saturate, on enough numbers for chance to have no part in it.
_SCALES: Final = (1.0, 4.0, 0.25, 2.0, 0.5)
_MOST_DRAWS: Final = 8
_ENOUGH: Final = 100
_ROWS: Final = (11, 13, 17, 19, 23, 29)  # one that is no size of a cell
_MOST_ROWS: Final = 1 << 12
_MOST_ELEMENTS: Final = 1 << 22
_MOST_DEPTH: Final = 40


class Outside:
    """What a loop reads of the graph around it, as far as it follows from constants and sizes.

    sizes: numbers for those that are free.
    """

    def __init__(self, body: TracedBody, sizes: Mapping[Size, int]) -> None:
        self.known: Draw = {}
        self._makers = {id(v): node for node in (*body.outer, *body.fixed) for v in node.outputs}
        self._sizes, self._seen = dict(sizes), set[int]()
        if body.length is not None and not isinstance(body.length, int):
            self._sizes.setdefault(body.length, 2)
        for node in body.nodes:
            for value in node.inputs:
                if value is not None and value.array is not None and is_floating(value.array.dtype):
                    self.known[id(value)] = value.array.astype(np.float64)
                elif value is not None and id(value) not in body.made:
                    self.array(value)
            for value in node.outputs:
                self._measured(value)

    def array(self, value: Value, depth: int = 0) -> Array | None:
        """The value in numbers."""
        if value.array is None and id(value) not in self._seen and depth < _MOST_DEPTH:
            self._seen.add(id(value))
            if not self._measured(value) and id(value) in self._makers:
                node = self._makers[id(value)]
                for v in node.inputs:
                    if v is not None:
                        self.array(v, depth + 1)
                _compute(node, self.known)
        return self.known.get(id(value), value.array)

    def _measured(self, value: Value) -> bool:
        """Small integers, where they are sizes that have a number."""
        if value.elements is None or value.rank not in (0, 1) or value.dtype is None:
            return False
        found = [n if isinstance(n, int) else self._sizes.get(n) for n in value.elements]
        if any(n is None for n in found):
            return False
        self.known[id(value)] = np.array(found, numpy_dtype(value.dtype)).reshape((-1,) if value.rank else ())
        return True


@dataclass(frozen=True)
class Trial:
    """coming: what comes into an iteration, in which layout, by id. rows: of the batch. fixed: what no iteration
    changes, by id, in numbers."""

    body: TracedBody
    coming: Mapping[int, Layout]
    rows: int
    outside: Outside
    fixed: Draw

    def with_masks(self, masks: Mapping[int, Array]) -> "Trial":
        """The same where some bools of the body are these."""
        known = {**self.fixed, **masks}
        for node in self.body.nodes:
            _compute(node, known)
        return replace(self, fixed=known)

    def draws(self) -> list[Draw]:
        """Random numbers for what comes in, and every value of the body that follows from them, by id."""
        rng = np.random.default_rng(0)
        draws: list[Draw] = []
        fewest = min((self.rows * layout.width for layout in self.coming.values()), default=1)
        for scale in islice(cycle(_SCALES), min(max(2, _ENOUGH // fewest), _MOST_DRAWS)):
            known = dict(self.fixed)
            for key, layout in self.coming.items():
                known[key] = scale * rng.standard_normal(layout.shape(self.rows))
            # What the first could compute the others can, as it was checked there.
            done = self.body.nodes if not draws else [n for n in self.body.nodes if id(n.outputs[0]) in draws[0]]
            for node in done:
                _compute(node, known, checked=bool(draws))
            draws.append(known)
        return draws


def trials(body: TracedBody, values: Sequence[Value]) -> Iterator[Trial]:
    """One for each way in which the batch and the features may lie in what comes in, the likeliest first."""
    for layouts in arrangements([layouts_of(body.sizes_of(value)) for value in values]):
        batches = {layout.rows for layout in layouts} - {1}
        given = [n for n in batches if isinstance(n, int)]
        taken = {n for layout in layouts for n in layout.features}
        rows = given[0] if given else next(n for n in _ROWS if n not in taken or n == _ROWS[-1]) if batches else 1
        if rows <= _MOST_ROWS:
            outside = Outside(body, dict.fromkeys(batches, rows))
            keys = [id(value) for value in values]
            yield Trial(body, dict(zip(keys, layouts, strict=True)), rows, outside, outside.known)


def _compute(node: BuiltNode, known: Draw, *, checked: bool = False) -> None:
    """The outputs of a node in float64, where all it reads is known. checked: it was computed of such inputs before."""
    if all(id(v) in known for v in node.outputs):
        return
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
        if checked and node.op in OPS:
            with np.errstate(all="ignore"):
                results = OPS[node.op].compute(arrays, plain.attrs)
        else:
            results = evaluate(plain, arrays, max_elements=_MOST_ELEMENTS)
    except FastGRUError:
        return
    for value, array in zip(node.outputs, results, strict=False):
        known.setdefault(id(value), array)
