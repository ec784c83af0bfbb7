"""A loop's body as algebra: every value is an affine function of incoming values, activations and products.

This is the normal form of a body. Operators that move elements (slices, splits, transposes, reshapes) move columns,
multiplications by constants multiply matrices, and biases are added up. So a gate is found however the file computes
it: with one matrix or six, split or sliced, with biases added before or after.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.importers.onnx.loops.moves import aligned, constant_form, moved
from fastgru.importers.onnx.loops.products import contracted
from fastgru.reference.facts import sources
from fastgru.spec import ACTIVATIONS, Activation

__all__ = ["affine_forms"]


_MAX_WIDTH: Final = 1 << 13
_MAX_ELEMENTS: Final = 1 << 26  # of all matrices of a body
_RECTIFIER: Final = Activation("relu")
_CLAMP: Final = Activation("hard_sigmoid", 1.0, 0.5)


def affine_forms(
    nodes: Sequence[BuiltNode], coming: Mapping[int, AffineForm], fixed: Mapping[int, Array], rows: int
) -> dict[int, AffineForm]:
    """Return the affine forms of all values that have one, by id.

    coming: the forms of the values that come into an iteration. fixed: the arrays of values that no iteration changes.
    """
    forms = dict(coming)
    left = _MAX_ELEMENTS

    def given(value: Value | None) -> AffineForm | None:
        if value is None:
            return None
        array = fixed.get(id(value), value.array)
        if id(value) not in forms and array is not None and array.dtype.kind == "f" and array.size <= _MAX_WIDTH:
            return constant_form(array)
        return forms.get(id(value))

    for node in nodes:
        if all(id(v) in forms or id(v) in fixed for v in node.outputs):
            continue
        arrays = [None if v is None else fixed.get(id(v), v.array) for v in node.inputs]
        made = _forms(node, [given(v) for v in node.inputs], arrays, rows)
        for value, form in zip(node.outputs, made, strict=False):
            if form is not None and form.width <= _MAX_WIDTH and id(value) not in forms and left > 0:
                left -= sum(m.size for m in form.terms.values() if m is not None)
                forms[id(value)] = form
    return forms


def _forms(
    node: BuiltNode, given: Sequence[AffineForm | None], arrays: Sequence[Array | None], rows: int
) -> Sequence[AffineForm | None]:
    attrs, x = node.attrs, given[0] if given else None
    match node.op:
        case "linear" | "matmul" | "einsum" | "reduce":
            y = contracted(node, given, arrays)
            bias = given[2] if node.op == "linear" and len(given) > 2 else None
            return [_binary("add", y, bias, rows) if y is not None and bias is not None else y]
        case "binary" if x is not None and given[1] is not None:
            return [_binary(attrs["kind"], x, given[1], rows)]
        case "where" if arrays[0] is not None and given[1] is not None and given[2] is not None:
            return [_chosen(arrays[0], given[1], given[2], rows)]
    if x is None:
        return []
    match node.op:
        case "unary":
            return [_unary(attrs["kind"], x)]
        case "activation" if attrs["kind"] in ACTIVATIONS and x.terms:
            numbers = {key: attrs[key] for key in ("alpha", "beta") if key in attrs}
            return [_activated(Activation(attrs["kind"], **numbers), x)]
        case "clip" if x.terms:
            low, high = ([*map(_number, arrays[1:]), None, None])[:2]
            return [_clipped(x, low, high)]
        case "cast" if attrs["to"] in ("float16", "float32", "float64"):
            return [x]
    moving = {i: given[i] for i in sources(node.op, range(len(given)))}
    if not moving or node.op == "pad":
        return []
    forms = {i: form for i, form in moving.items() if form is not None}
    if len(forms) != len(moving) or any(
        arrays[i] is None and node.inputs[i] is not None for i in range(len(given)) if i not in moving
    ):
        return []
    return moved(node, forms, arrays, rows)


def _number(array: Array | None) -> float | None:
    return None if array is None or array.size != 1 else float(array.reshape(-1)[0])


def _unary(kind: str, x: AffineForm) -> AffineForm | None:
    match kind:
        case "neg":
            return x.scale(-1.0)
        case "exp" if x.terms:
            return _of(Atom(x.width, None, (x.flat(),), "exp"), x)
    return None


def _binary(kind: str, left: AffineForm, right: AffineForm, rows: int) -> AffineForm | None:
    both = aligned([left, right], rows)
    if both is None:
        return None
    a, b = both
    match kind:
        case "add":
            return a.add(b)
        case "sub":
            return a.add(b.scale(-1.0))
        case "mul" if not a.terms:
            return b.scale(a.bias)
        case "mul" if not b.terms:
            return a.scale(b.bias)
        case "mul":
            return _of(Atom(a.width, None, (a.flat(), b.flat())), a)
        case "div" if not b.terms and b.bias.all():
            return a.scale(1 / b.bias)
        case "div" if not a.terms:
            return _logistic(a, b)
        case "max" | "min":
            x, bound = (b, a) if b.terms else (a, b)
            if bound.terms or not x.terms or not (bound.bias == bound.bias[0]).all():
                return None
            number = float(bound.bias[0])
            return _clipped(x, number, None) if kind == "max" else _clipped(x, None, number)
    return None


def _logistic(a: AffineForm, b: AffineForm) -> AffineForm | None:
    """Return c / (1 + exp(x)) as c times the sigmoid of -x, or None if b is not 1 + exp(x)."""
    (atom, *more) = b.terms
    if more or atom.name != "exp" or not (b.terms[atom] == 1).all() or not (b.bias == 1).all():
        return None
    inner = atom.parts[0].scale(-1.0)
    return _activated(Activation("sigmoid"), AffineForm(b.shape, b.axis, inner.terms, inner.bias)).scale(a.bias)


def _clipped(x: AffineForm, low: float | None, high: float | None) -> AffineForm | None:
    """Return x clipped to bounds: a relu for one bound, a scaled and shifted hard sigmoid for two."""
    if low is None and high is None:
        return x
    if low is None or high is None:
        inner, below, above = _one_bounded(x)
        if (below if low is None else above) is None:
            return _one_bound(x, low, high)
        x, low, high = inner, below if low is None else low, above if high is None else high
    assert low is not None
    assert high is not None
    if high <= low:
        return None
    y = x.shift(-low).scale(1 / (high - low)).shift(-0.5)
    return _activated(_CLAMP, y).scale(high - low).shift(low)


def _one_bounded(x: AffineForm) -> tuple[AffineForm, float | None, float | None]:
    """Undo `_one_bound`: return the form before it was bounded, and its lower and upper bound (None if absent)."""
    (atom, *more) = x.terms
    scale, bound = x.terms[atom], float(x.bias[0])
    if more or atom.activation != _RECTIFIER or scale.ndim != 1 or not (x.bias == bound).all():
        return x, None, None
    inner = AffineForm(x.shape, x.axis, atom.parts[0].terms, atom.parts[0].bias)
    if (scale == 1).all():
        return inner.shift(bound), bound, None
    return (inner.scale(-1.0).shift(bound), None, bound) if (scale == -1).all() else (x, None, None)


def _one_bound(x: AffineForm, low: float | None, high: float | None) -> AffineForm:
    """Return low + max(0, x - low), or high - max(0, high - x)."""
    if low is not None:
        return _activated(_RECTIFIER, x.shift(-low)).shift(low)
    assert high is not None
    return _activated(_RECTIFIER, x.scale(-1.0).shift(high)).scale(-1.0).shift(high)


def _activated(activation: Activation, x: AffineForm) -> AffineForm:
    return _of(Atom(x.width, activation, (x.flat(),)), x)


def _of(atom: Atom, like: AffineForm) -> AffineForm:
    return AffineForm.of(atom, like.shape, like.axis)


def _chosen(condition: Array, a: AffineForm, b: AffineForm, rows: int) -> AffineForm | None:
    """Return a or b if the condition is the same everywhere, else None."""
    if not condition.size or not (condition == condition.reshape(-1)[0]).all():
        return None
    shape = condition.shape
    ones = AffineForm((1,) * len(shape), None, {}, np.zeros(1))
    both = aligned([a, b, ones], rows)
    return None if both is None else both[0 if condition.reshape(-1)[0] else 1]
