"""A loop's body as algebra: every value an affine function of what comes in, of activations and of products.

Values are seen along their last axis, that of the features; the axes before it are batch. So a gate is found whatever
the file makes it of: one matrix or six, split or sliced, added before or after.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.spec import ACTIVATIONS, Activation

__all__ = ["affine_forms"]

_MAX_WIDTH: Final = 1 << 12
_MAX_ELEMENTS: Final = 1 << 26  # of all matrices of a body
_RECTIFIER: Final = Activation("relu")
_HARD_SIGMOID: Final = Activation("hard_sigmoid", 1.0, 0.5)


def affine_forms(nodes: Sequence[BuiltNode], atoms: Mapping[int, Atom]) -> tuple[dict[int, AffineForm], list[Atom]]:
    """The affine form of each value, by id, that has one, and every activation on the way.

    atoms: of the values that come in, by id.
    """
    forms = {key: AffineForm(atom.width, {atom: None}) for key, atom in atoms.items()}
    activations: list[Atom] = []
    left = _MAX_ELEMENTS
    for node in nodes:
        given = [None if v is None else forms.get(id(v)) or _constant(v) for v in node.inputs]
        outputs = [v for v in node.outputs if id(v) not in forms]
        if not outputs or not given or given[0] is None:
            continue
        made = _forms(node, given)
        for value, form in zip(node.outputs, made, strict=False):
            if form is not None and form.width <= _MAX_WIDTH and id(value) not in forms and left > 0:
                left -= sum(m.size for m in form.terms.values() if m is not None)
                forms[id(value)] = form
                activations += [a for a in form.terms if a.activation and a not in activations]
    return forms, activations


def _constant(value: Value) -> AffineForm | None:
    """A row that is the same for the whole batch."""
    array = value.array
    if array is None or array.size == 0 or array.dtype.kind != "f" or array.size != (array.shape or (1,))[-1]:
        return None
    return AffineForm(array.size, {}, array.reshape(-1).astype(np.float64))


def _forms(node: BuiltNode, given: Sequence[AffineForm | None]) -> list[AffineForm | None]:
    x = given[0]
    assert x is not None
    attrs, read = node.attrs, node.inputs[0]
    last = read is not None and read.rank is not None and attrs.get("axis") in (-1, read.rank - 1)
    match node.op:
        case "linear" | "matmul":
            return [_matmul(node, given)]
        case "binary" if len(given) == 2 and given[1] is not None:
            return [_binary(attrs["kind"], x, given[1])]
        case "unary" if attrs["kind"] == "neg":
            return [x.scale(np.array([-1.0]))]
        case "activation" if attrs["kind"] in ACTIVATIONS and x.terms:
            numbers = {key: attrs[key] for key in ("alpha", "beta") if key in attrs}
            return [_activated(Activation(attrs["kind"], **numbers), x)]
        case "clip" if x.terms and [_number(v) for v in node.inputs[1:]] == [0.0, 1.0]:
            return [_activated(_HARD_SIGMOID, x.add(AffineForm(1, {}, np.array([-0.5]))))]
        case "split" if last and len(given) == 1:
            return _split(x, attrs, len(node.outputs))
        case "slice":
            return [_slice(node, x)]
        case "concat" if last and all(f is not None for f in given):
            return [_concat([f for f in given if f is not None])]
        case "squeeze" | "unsqueeze":
            rank = node.outputs[0].rank if node.op == "unsqueeze" else read.rank if read is not None else None
            axes = attrs["axes"]
            return [x if rank and axes and all(a % rank != rank - 1 for a in axes) else None]
        case "reshape":
            target = node.inputs[1]
            ends = target is not None and target.array is not None and target.array.size and x.width > 1
            return [x if ends and target is not None and int(target.array.reshape(-1)[-1]) == x.width else None]  # type: ignore[union-attr]
    return []


def _number(value: Value | None) -> float | None:
    if value is None or value.array is None or value.array.size != 1:
        return None
    return float(value.array.reshape(-1)[0])


def _matmul(node: BuiltNode, given: Sequence[AffineForm | None]) -> AffineForm | None:
    left, right = node.inputs[0], node.inputs[1]
    x = given[0]
    if right is None or right.array is None or right.array.ndim != 2 or x is None or left is None:
        return None
    matrix = right.array.astype(np.float64)
    matrix = matrix.T if node.op == "linear" else matrix
    if matrix.shape[0] != x.width:
        return None
    y = x.map(matrix)
    if len(given) > 2 and node.inputs[2] is not None:
        return None if given[2] is None else y.add(given[2])
    return y


def _binary(kind: str, a: AffineForm, b: AffineForm) -> AffineForm | None:
    if a.width != b.width and not ((a.width == 1 and not a.terms) or (b.width == 1 and not b.terms)):
        return None
    match kind:
        case "add":
            return a.add(b)
        case "sub":
            return a.add(b.scale(np.array([-1.0])))
        case "mul" if not a.terms:
            return b.scale(a.bias)
        case "mul" if not b.terms:
            return a.scale(b.bias)
        case "mul":
            return _of(Atom(a.width, None, (a, b)))
        case "div" if not b.terms and b.bias.all():
            return a.scale(1 / b.bias)
        case "max" | "min":
            return _bounded(kind, *((b, a) if a.terms else (a, b)))
    return None


def _bounded(kind: str, bound: AffineForm, x: AffineForm) -> AffineForm | None:
    """max(0, x) and min(1, x) as rectifiers, and both of them as the hard sigmoid, in either order."""
    if bound.terms or not x.terms or not (bound.bias == (0 if kind == "max" else 1)).all():
        return None
    # min(1, x) is 1 - max(0, 1 - x): what either is taken of may be the other, as a rectifier or one less a rectifier.
    y = x if kind == "min" else _from_one(x)
    (atom, *more) = y.terms
    alone = not more and not y.bias.any() and np.array_equal(y.matrix(atom), np.eye(y.width))
    if alone and atom.activation == _RECTIFIER:
        inner = atom.parts[0] if kind == "min" else _from_one(atom.parts[0])
        return _activated(_HARD_SIGMOID, inner.add(AffineForm(1, {}, np.array([-0.5]))))
    return _activated(_RECTIFIER, x) if kind == "max" else _from_one(_activated(_RECTIFIER, _from_one(x)))


def _from_one(x: AffineForm) -> AffineForm:
    """1 - x"""
    return x.scale(np.array([-1.0])).add(AffineForm(1, {}, np.array([1.0])))


def _activated(activation: Activation, x: AffineForm) -> AffineForm:
    return _of(Atom(x.width, activation, (x,)))


def _of(atom: Atom) -> AffineForm:
    return AffineForm(atom.width, {atom: None})


def _split(x: AffineForm, attrs: Mapping[str, Any], outputs: int) -> list[AffineForm | None]:
    sizes = attrs.get("sizes")
    if sizes is None:
        each = -(-x.width // outputs)
        sizes = [each] * (outputs - 1) + [x.width - each * (outputs - 1)]
    if sum(sizes) != x.width or min(sizes) < 0:
        return []
    ends = np.cumsum(sizes)
    return [
        x.columns(slice(int(end) - size, int(end))) if size else None for end, size in zip(ends, sizes, strict=True)
    ]


def _slice(node: BuiltNode, x: AffineForm) -> AffineForm | None:
    read = node.inputs[0]
    arrays = [None if v is None else v.array for v in node.inputs[1:]]
    if len(arrays) < 3 or read is None or read.rank is None or any(a is None or a.size != 1 for a in arrays):
        return None
    start, end, axis, *step = (int(a.reshape(-1)[0]) for a in arrays if a is not None)
    if axis % read.rank != read.rank - 1 or step not in ([], [1]):
        return None
    index = slice(*slice(start, end).indices(x.width))
    return x.columns(index) if index.stop > index.start else None


def _concat(parts: Sequence[AffineForm]) -> AffineForm:
    width = sum(part.width for part in parts)
    total = AffineForm(width, {}, np.zeros(width))
    at = 0
    for part in parts:
        place = np.zeros((part.width, width))
        place[:, at : at + part.width] = np.eye(part.width)
        total = total.add(part.map(place))
        at += part.width
    return total
