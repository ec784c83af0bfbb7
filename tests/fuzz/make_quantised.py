"""Quantised numbers. Scales are powers of two, so that every quotient is exact and only ties are rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_builder import Builder, RejectError, Value
from graph_registry import generates

SCALES = (0.0625, 0.125, 0.25, 0.5, 1.0)


def floats_alone(b: Builder) -> None:
    if b.float != np.float32:
        raise RejectError("scales are float32")


def byte(b: Builder) -> str:
    return str(b.pick(["uint8", "uint8", "int8"]))


# Of weights: without VNNI, ONNX Runtime adds pairs of products in 16 bits, where those of 8 bits saturate.
SEVEN_BITS = {"low": -64, "high": 63}


def bounds(dtype: str) -> dict[str, int]:
    info = np.iinfo(dtype)
    return {"low": int(info.min), "high": int(info.max)}


def zero_point(b: Builder, dtype: str) -> Value:
    """Even: of a product ONNX Runtime rounds the tie after it has added the zero point, ONNX's text before."""
    return b.constant(np.array(2 * (b.integer(-4, 4) if dtype[0] == "i" else b.integer(50, 70)), dtype))


def scale(b: Builder) -> Value:
    return b.constant(np.array(b.pick(SCALES), np.float32))


@generates("QuantizeLinear", "DequantizeLinear")
def linear(b: Builder, op: str) -> object:
    floats_alone(b)
    wide = b.version(op) >= 21 and b.chance(0.2)
    dtype = str(b.pick(["uint16", "int16"])) if wide else byte(b)
    if op == "QuantizeLinear":
        x = b.value(ranks=(1, 4), low=-8, high=8, exact=True, where=lambda v: all(a.size for a in v.arrays))
    else:
        x = b.value(dtype, (1, 4), **bounds(dtype), where=lambda v: all(a.size for a in v.arrays))
    axes = [i for i, (n, m) in enumerate(x.sizes) if n == m]
    if b.version(op) >= 13 and axes and b.chance(0.4):
        axis = int(b.pick(axes))
        shape = (x.sizes[axis][0],)
        scales = b.constant(b.numbers.choice(SCALES, shape).astype(np.float32))
        zeros = b.constant(b.numbers.integers(0, 9, shape).astype(dtype))
        return b.add(op, [x, scales, zeros], exact="ring", axis=b.axis([axis], x.rank))
    zero = zero_point(b, dtype) if b.chance(0.7) or (op == "QuantizeLinear" and dtype != "uint8") else None
    return b.add(op, [x, scale(b), zero], exact="ring")


@generates("DynamicQuantizeLinear")
def dynamic(b: Builder, op: str) -> object:
    """Of a range of 255 steps, a power of two each."""
    floats_alone(b)
    shape = tuple(b.integer(1, 6) for _ in range(b.integer(1, 3)))
    arrays = []
    for _ in range(2):
        array = b.numbers.integers(-127, 129, (2, *shape)).astype(np.float32) / 64
        array.reshape(-1)[[0, -1]] = -127 / 64, 2.0
        arrays.append(array)
    return b.add(op, [b.given(arrays[0], arrays[1])], 3, exact="moves")


@generates("MatMulInteger", "QLinearMatMul")
def products(b: Builder, op: str) -> object:
    floats_alone(b)
    first, second = byte(b), byte(b)
    a = b.value(first, (2, 3), **bounds(first), where=lambda v: v.sizes[-1][0] == v.sizes[-1][1] > 0)
    k, n = a.sizes[-1][0], b.integer(1, 9)
    w = b.fresh([(k, k), (n, n)], second, **(SEVEN_BITS if second == "int8" else bounds(second)))
    if op == "MatMulInteger":
        zeros: list[Any] = [zero_point(b, first), zero_point(b, second)][: b.integer(0, 2)]
        return b.add(op, [a, w, *zeros])
    out = byte(b)
    operands = [a, scale(b), zero_point(b, first), w, scale(b), zero_point(b, second)]
    return b.add(op, [*operands, b.constant(np.array(64.0, np.float32)), zero_point(b, out)])


@generates("ConvInteger", "QLinearConv")
def convolutions(b: Builder, op: str) -> object:
    floats_alone(b)
    dtype = "uint8"
    axes = b.integer(1, 2)
    sizes = [b.size(), (b.integer(1, 4),) * 2, *((b.integer(4, 9),) * 2 for _ in range(axes))]
    x = b.fresh(sizes, dtype, 0, 255)
    taps = [b.integer(1, 3) for _ in range(axes)]
    shape = (b.integer(1, 6), sizes[1][0], *taps)
    kind = str(b.pick(["uint8", "int8"])) if op == "QLinearConv" else "uint8"
    low, high = SEVEN_BITS.values() if kind == "int8" else (0, 100)
    w = b.constant(b.filled(shape, np.dtype(kind), low, high, False))
    attrs: dict[str, Any] = {}
    if b.chance(0.5):
        attrs["pads"] = [b.integer(0, 1) for _ in range(2 * axes)]
    if b.chance(0.5):
        attrs["strides"] = [b.integer(1, 2) for _ in range(axes)]
    zero = b.constant(np.array(0, kind)) if kind == "int8" else zero_point(b, kind)
    if op == "ConvInteger":
        return b.add(op, [x, w, zero_point(b, dtype), zero][: b.integer(2, 4)], **attrs)
    bias = b.constant(b.numbers.integers(-500, 500, shape[0]).astype(np.int32)) if b.chance(0.5) else None
    first = [x, scale(b), zero_point(b, dtype), w, scale(b), zero]
    return b.add(op, [*first, b.constant(np.array(64.0, np.float32)), zero_point(b, dtype), bias], **attrs)
