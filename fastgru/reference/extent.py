"""How many elements a node will produce, known before it is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Node
from fastgru.reference.einsum import label_sizes, parse_equation
from fastgru.reference.resize import resize_axes
from fastgru.reference.shape import integers
from fastgru.reference.spectral import check_stft, dft_sizes
from fastgru.reference.windows import slide, spread
from fastgru.spec import spec_of

__all__ = ["output_elements"]

Array = NDArray[Any]


def output_elements(node: Node, inputs: Sequence[Array | None]) -> int:
    """An upper bound on the elements of the largest output. Shape errors are left to the definition to report."""
    a = [x for x in inputs if x is not None]
    total = sum(x.size for x in a)
    match node.op:
        case "constant_of_shape":
            return math.prod(max(s, 0) for s in integers("shape", a[0]))
        case "expand":
            return _broadcast(a[0].shape, tuple(max(s, 1) for s in integers("shape", a[1])))
        case "tile":
            return a[0].size * math.prod(max(c, 0) for c in integers("repeats", a[1]))
        case "pad":
            amounts = [max(p, 0) for p in integers("pads", a[1])]
            half = len(amounts) // 2
            axes = node.attrs.get("axes") or range(a[0].ndim)
            sizes = list(a[0].shape)
            for i, axis in enumerate(axes):
                if i < half and -len(sizes) <= axis < len(sizes):
                    sizes[axis] += amounts[i] + amounts[i + half]
            return math.prod(sizes)
        case "range":
            first, last, step = (x.item() for x in a[:3])
            return math.ceil(abs(last - first) / abs(step)) if step else 0
        case "gather" | "embedding":
            data, where = (a[0], a[1]) if node.op == "gather" else (a[1], a[0])
            axis = node.attrs.get("axis", 0)
            size = data.shape[axis] if -data.ndim <= axis < data.ndim else 1
            return where.size * (data.size // max(size, 1))
        case "matmul" | "matmul_integer":
            left, right = a[0].shape, a[1].shape
            if not left or not right:
                return 0
            tail = (left[-2] if len(left) > 1 else 1) * (right[-1] if len(right) > 1 else 1)
            return _broadcast(left[:-2], right[:-2]) * tail
        case "linear":
            return (a[0].size // max(a[0].shape[-1] if a[0].ndim else 1, 1)) * (a[1].shape[0] if a[1].ndim else 1)
        case "conv" | "conv_integer" | "conv_transpose" | "pool":
            return _slid(node, [x.shape for x in a])
        case "einsum":
            return _einsum(node, [x.shape for x in a])
        case "resize":
            return _resized(node, inputs)
        case "dft" | "stft":
            return _transformed(node, a)
        case "gather_nd":
            lead = node.attrs.get("batch_dims", 0)
            depth = a[1].shape[-1] if a[1].ndim else 0
            block = math.prod(a[0].shape[lead + depth :]) if isinstance(lead, int) and lead >= 0 else 0
            return math.prod(a[1].shape[:-1]) * block
        case "gru" | "lstm" | "rnn":
            spec = spec_of(node.op, node.attrs)
            return a[0].size // spec.input_size * spec.output_size
        case "binary" | "compare" | "logical" | "where" | "prelu":
            return _broadcast(*(x.shape for x in a))
        case _:
            return total


def _slid(node: Node, shapes: Sequence[tuple[int, ...]]) -> int:
    x, attrs = shapes[0], node.attrs
    forms = (attrs["strides"], attrs["dilations"], attrs["pads"])
    if node.op == "pool":
        windows = slide(x[2:], attrs["kernel"], *forms, ceil_mode=bool(attrs.get("ceil_mode", False)))
        return math.prod(x[:2]) * math.prod(windows.sizes)
    weight = shapes[1]
    if node.op in ("conv", "conv_integer"):
        return x[0] * weight[0] * math.prod(slide(x[2:], weight[2:], *forms).sizes)
    windows = spread(x[2:], weight[2:], *forms, attrs["output_padding"], attrs.get("output_shape"))
    return x[0] * weight[1] * int(attrs["group"]) * math.prod(windows.sizes)


def _broadcast(*shapes: tuple[int, ...]) -> int:
    try:
        return math.prod(np.broadcast_shapes(*shapes))
    except ValueError:
        return 0


def _einsum(node: Node, shapes: list[tuple[int, ...]]) -> int:
    labels, output = parse_equation(node.attrs["equation"], [len(s) for s in shapes])
    sizes = label_sizes(labels, shapes)
    return math.prod(sizes[label] for label in output)


def _resized(node: Node, inputs: Sequence[Array | None]) -> int:
    x, roi, scales, sizes = [*inputs, None, None, None][:4]
    assert x is not None
    names = ("axes", "policy", "coordinates")
    axes, policy, coordinates = (node.attrs.get(name) for name in names)
    changed = resize_axes(x.shape, roi, scales, sizes, axes, policy or "stretch", str(coordinates))
    total = [*x.shape]
    largest = x.size
    for axis in changed:
        total[axis.axis] = axis.out
        largest = max(largest, math.prod(total))
    return largest


def _transformed(node: Node, a: list[Array]) -> int:
    length = node.attrs.get("length")
    if node.op == "dft":
        one, inverse = bool(node.attrs.get("onesided", False)), bool(node.attrs.get("inverse", False))
        axis, n, _, _ = dft_sizes(a[0].shape, node.attrs["axis"], length, onesided=one, inverse=inverse)
        return int(2 * n * (a[0].size // max(a[0].shape[axis], 1)))
    window = a[1].shape if len(a) > 1 else None
    size, frames = check_stft(a[0].shape, window, node.attrs["step"], length, bool(node.attrs.get("onesided", True)))
    return int(4 * size * frames * a[0].shape[0])
