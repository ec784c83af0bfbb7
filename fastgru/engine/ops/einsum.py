"""Einsum by transposed views, sums over labels of one operand only, and a matrix product for each further operand."""

from math import prod

import numpy as np

from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.elementwise import apply_binary, same_dtype
from fastgru.engine.ops.gemm import gemm
from fastgru.engine.ops.matmul import multiplied
from fastgru.engine.ops.reduce import reduced
from fastgru.engine.ops.shape import broadcast_to, reshaped
from fastgru.engine.ops.softmax import permuted
from fastgru.errors import ShapeError
from fastgru.reference.einsum import Labels, label_sizes, parse_equation


@lowering("einsum")
def _lower_einsum(builder: PlanBuilder, node: Node, *values: Value) -> list[Value]:
    """Multiply operands from left to right, summing over a label as soon as no later operand and no output has it."""
    equation = node.attrs["equation"]
    if same_dtype(builder, **{f"x{i}": v for i, v in enumerate(values)}) == "bool":
        raise ShapeError("einsum: got bool, expected numbers")
    labels, output = parse_equation(equation, [v.ndim for v in values])
    sizes = label_sizes(labels, [v.shape for v in values])
    result, have = _summed(builder, values[0], labels[0], {*output, *(c for axes in labels[1:] for c in axes)})
    for i in range(1, len(values)):
        needed = {*output, *(c for axes in labels[i + 1 :] for c in axes)}
        b = values[i]
        key = (node.inputs[i], "einsum", equation, str(i))
        if isinstance(b, Constant) and _is_product(builder, have, labels[i], needed):
            result, have = _by_weight(builder, result, have, b, labels[i], needed, key)
            continue
        right, right_has = _summed(builder, b, labels[i], {*needed, *have})
        result, have = _joined(builder, result, have, right, right_has, needed)
    view = permuted(result, [have.index(label) for label in output])
    return [broadcast_to(view, tuple(sizes[label] for label in output))]


def _summed(builder: PlanBuilder, value: Value, axes: Labels, needed: set[str]) -> tuple[View, Labels]:
    """Take the diagonal of labels that come twice, then sum over labels that are not needed."""
    view = builder.view(value)
    unique = tuple(dict.fromkeys(axes))
    if len(unique) != len(axes):
        shape = tuple(view.shape[axes.index(c)] for c in unique)
        strides = tuple(sum(s for a, s in zip(axes, view.strides, strict=True) if a == c) for c in unique)
        view = view.as_strided(shape, strides)
    gone = [i for i, c in enumerate(unique) if c not in needed]
    if gone:
        view = reduced(builder, view, "sum", gone, keepdims=False)
    return view, tuple(c for c in unique if c in needed)


def _is_product(builder: PlanBuilder, have: Labels, axes: Labels, needed: set[str]) -> bool:
    """Return whether this is a product of two matrices without stacks: then the right one can be packed once."""
    both = set(have) & set(axes)
    return bool(both) and not (both & needed) and len(set(axes)) == len(axes) and set(axes) <= both | needed


def _by_weight(
    builder: PlanBuilder, a: View, have: Labels, b: Constant, axes: Labels, needed: set[str], key: tuple[str, ...]
) -> tuple[View, Labels]:
    a, have = _summed(builder, a, have, needed | set(axes))
    inner = tuple(c for c in have if c in axes)
    left, right = tuple(c for c in have if c not in axes), tuple(c for c in axes if c not in inner)
    if builder.dtype(b) != builder.float_dtype:
        return _joined(builder, a, have, builder.view(b), axes, needed)
    array = np.transpose(b.array, [axes.index(c) for c in (*right, *inner)])
    sizes = array.shape[: len(right)]
    weight = Constant(array.reshape(prod(sizes), -1), b.name)
    x = permuted(a, [have.index(c) for c in (*left, *inner)])
    lead = x.shape[: len(left)]
    flat = reshaped(builder, x, (*lead, prod(x.shape[len(left) :])))
    y = gemm(builder, flat, weight, None, (*key, *inner))
    return reshaped(builder, y, (*lead, *sizes)), (*left, *right)


def _joined(
    builder: PlanBuilder, a: View, a_has: Labels, b: View, b_has: Labels, needed: set[str]
) -> tuple[View, Labels]:
    """Multiply two operands, and sum over the labels that both have and that are not needed."""
    a, a_has = _summed(builder, a, a_has, needed | set(b_has))
    both = [c for c in a_has if c in b_has]
    inner = tuple(c for c in both if c not in needed)
    stack = tuple(c for c in both if c in needed)
    left, right = tuple(c for c in a_has if c not in both), tuple(c for c in b_has if c not in both)
    x = permuted(a, [a_has.index(c) for c in (*stack, *left, *inner)])
    y = permuted(b, [b_has.index(c) for c in (*stack, *inner, *right)])
    s, sizes = len(stack), {}
    for c, n, m in zip(stack, x.shape, y.shape, strict=False):
        sizes[c] = m if n == 1 else n
    sizes.update(zip(left, x.shape[s:], strict=False))
    sizes.update(zip(right, y.shape[s + len(inner) :], strict=True))
    labels = (*stack, *left, *right)
    if not inner or x.dtype != builder.float_dtype:
        return _by_elements(builder, x, y, s, len(left), len(inner), len(right)), labels
    K = prod(y.shape[s : s + len(inner)])
    rows = reshaped(builder, x, (*x.shape[:s], prod(x.shape[s : s + len(left)]), K))
    columns = reshaped(builder, y, (*y.shape[:s], K, prod(y.shape[s + len(inner) :])))
    result = multiplied(builder, rows, columns)
    return reshaped(builder, result, tuple(sizes[c] for c in labels)), labels


def _by_elements(builder: PlanBuilder, x: View, y: View, s: int, left: int, inner: int, right: int) -> View:
    """Multiply element by element, with axes (stack, left, inner, right), then sum over the inner axes."""
    a = x.as_strided((*x.shape, *(1,) * right), (*x.strides, *(0,) * right))
    b = View(
        y.buffer, y.offset, (*y.shape[:s], *(1,) * left, *y.shape[s:]), (*y.strides[:s], *(0,) * left, *y.strides[s:]),
        y.dtype,
    )  # fmt: skip
    z = apply_binary(builder, "mul", a, b)
    return reduced(builder, z, "sum", list(range(s + left, s + left + inner)), keepdims=False) if inner else z
