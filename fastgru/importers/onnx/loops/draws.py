"""A loop's body computed in float64: values that follow from sizes, and random draws that tell cells apart."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError
from fastgru.graph import Node
from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.loops.layout import Layout, arrangements, layouts_of
from fastgru.importers.onnx.loops.trace import TracedBody
from fastgru.modules import late
from fastgru.records import dataclass
from fastgru.reference.evaluate import evaluate, in_precision
from fastgru.reference.linear import check_linear
from fastgru.reference.operator import OPS, is_floating, numpy_dtype
from fastgru.reference.sizes import Size

__all__ = ["Draw", "Trial", "product_of_parts", "trials"]

Draw = dict[int, Array]

# The scale of the inputs alternates from row to row, so that activations both bend and saturate. There are enough
# numbers to rule out a match by chance; for a batch of free size, one draw has them all.
_SCALES: Final = (1.0, 4.0)
_MOST_DRAWS: Final = 8
_ENOUGH: Final = 100
_ENOUGH_ROWS: Final = 11
_ROWS: Final = (
    11,
    13,
    17,
    19,
    23,
    29,
    31,
    37,
    41,
    43,
    47,
    53,
    59,
    61,
    89,
    97,
    101,
    103,
)  # the number of rows must differ from all sizes of features
_MOST_ROWS: Final = 1 << 12
_MOST_ELEMENTS: Final = 1 << 22
_MOST_DEPTH: Final = 40
_PART: Final = 1 << 14  # entries of a matrix that are multiplied at once


class Outside:
    """The values that a loop reads from the graph around it, as far as they follow from constants and sizes.

    sizes: a number for each free size.
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
                    if not _is_wide(value.array):
                        self.known[id(value)] = value.array.astype(np.float64)
                elif value is not None and id(value) not in body.made:
                    self.array(value)
            for value in node.outputs:
                self._measured(value)

    def array(self, value: Value, depth: int = 0) -> Array | None:
        """Return the value as an array, or None if it is unknown."""
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
        """Record a value whose elements are integers or sizes with a number; return whether it is one."""
        if value.elements is None or value.rank not in (0, 1) or value.dtype is None:
            return False
        found = [n if isinstance(n, int) else self._sizes.get(n) for n in value.elements]
        if any(n is None for n in found):
            return False
        self.known[id(value)] = np.array(found, numpy_dtype(value.dtype)).reshape((-1,) if value.rank else ())
        return True


@dataclass(frozen=True)
class Trial:
    """coming: the layouts of the values that come into an iteration, by id. rows: the size of the batch. fixed: the
    arrays that no iteration changes, by id."""

    body: TracedBody
    coming: Mapping[int, Layout]
    rows: int
    outside: Outside
    fixed: Draw

    def with_masks(self, masks: Mapping[int, Array]) -> "Trial":
        """Return the same trial with these values for some bools of the body."""
        known = {**self.fixed, **masks}
        for node in self.body.nodes:
            _compute(node, known)
        return replace(self, fixed=known)

    def draws(self) -> list[Draw]:
        """Draw random numbers for the values that come in; return all values of the body that follow, by id."""
        rng = late("numpy.random").default_rng(0)
        fewest = min((self.rows * layout.width for layout in self.coming.values()), default=1)
        count = min(max(1 if self.rows >= _ENOUGH_ROWS else 2, _ENOUGH // fewest), _MOST_DRAWS)
        scales = np.resize(_SCALES, (count, self.rows))
        draws = []
        for scale in scales:
            draws.append(known := dict(self.fixed))
            for key, layout in self.coming.items():
                along = [-1 if i == layout.axis else 1 for i in range(len(layout.sizes))]
                by_row = scale[: 1 if layout.axis is None else None].reshape(along)
                known[key] = by_row * rng.standard_normal(layout.shape(self.rows))
        calls = [call for node in self.body.nodes if (call := _compute(node, draws[0])) is not None]
        with np.errstate(all="ignore"):
            for known in draws[1:]:  # the checks of the first draw hold for the others
                for call in calls:
                    call(known)
        return draws


def trials(body: TracedBody, values: Sequence[Value]) -> Iterator[Trial]:
    """Yield a trial for each possible layout of batch and features in the incoming values, the likeliest first."""
    for layouts in arrangements([layouts_of(body.sizes_of(value)) for value in values]):
        batches = {layout.rows for layout in layouts} - {1}
        given = [n for n in batches if isinstance(n, int)]
        taken = {n for layout in layouts for n in layout.features}
        narrowest = min((layout.width for layout in layouts), default=1)
        enough = max(_ENOUGH_ROWS, min(8 * _ENOUGH_ROWS, 16 * _ENOUGH_ROWS // narrowest))
        free = next(n for n in _ROWS if n >= enough and (n not in taken or n == _ROWS[-1]))
        rows = given[0] if given else free if batches else 1
        if rows <= _MOST_ROWS:
            outside = Outside(body, dict.fromkeys(batches, rows))
            keys = [id(value) for value in values]
            yield Trial(body, dict(zip(keys, layouts, strict=True)), rows, outside, outside.known)


def _compute(node: BuiltNode, known: Draw) -> Callable[[Draw], None] | None:
    """Compute the outputs of a node in float64 into `known` if all of its inputs are known.

    Returns a function that does the same, unchecked, for another draw.
    """
    if all(id(v) in known for v in node.outputs):
        return None
    arrays: list[Array | None] = []
    for value in node.inputs:
        if value is None:
            arrays.append(None)
        elif id(value) in known:
            arrays.append(known[id(value)])
        elif value.array is None:
            return None
        elif node.op == "linear" and _is_wide(value.array):
            arrays.append(value.array)
        else:
            arrays.append(value.array.astype(np.float64) if is_floating(value.array.dtype) else value.array)
    names = tuple("" if a is None else "x" for a in arrays)
    plain = in_precision(Node(node.op, names, ("",) * len(node.outputs), node.attrs), "float64")
    parts = any(a is not None and a.dtype == np.float32 for a in arrays)
    try:
        results = _linear(arrays) if parts else evaluate(plain, arrays, max_elements=_MOST_ELEMENTS)
    except FastGRUError:
        return None
    outputs = [id(v) for v in node.outputs]
    for key, array in zip(outputs, results, strict=False):
        known.setdefault(key, array)
    inputs, attrs, operator = [0 if v is None else id(v) for v in node.inputs], plain.attrs, OPS[node.op]

    def again(other: Draw) -> None:
        given = [other.get(key, a) for key, a in zip(inputs, arrays, strict=True)]
        try:
            made = _linear(given) if parts else operator.compute(given, attrs)
        except FastGRUError:
            return
        for key, array in zip(outputs, made, strict=False):
            other.setdefault(key, array)

    return again


def _is_wide(array: Array) -> bool:
    """Return whether a constant is a weight matrix too large for a float64 copy."""
    return array.dtype == np.float32 and array.ndim == 2 and array.size > _PART


def _linear(arrays: Sequence[Array | None]) -> tuple[Array]:
    """Compute `linear` with weights that are too large for a float64 copy."""
    x, weight, bias = (*arrays, None)[:3]
    assert x is not None
    assert weight is not None
    check_linear(x, weight, bias)
    y = product_of_parts(x.reshape(-1, x.shape[-1]), weight).reshape(*x.shape[:-1], -1)
    return (y if bias is None else y + bias,)


def product_of_parts(x: Array, weight: Array) -> Array:
    """x (N, I), weight (O, I) -> x weight^T in float64; the weight is cast in parts that fit into a cache."""
    y, outputs = np.empty((len(x), len(weight))), max(_PART // weight.shape[1], 1)
    for i in range(0, len(weight), outputs):
        y[:, i : i + outputs] = x @ weight[i : i + outputs].astype(np.float64).T
    return y
