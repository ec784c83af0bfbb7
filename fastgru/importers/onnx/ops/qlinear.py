"""onnxruntime's operators on quantised tensors of 8 bits.

Matrix multiplications and convolutions compute an exact int32 result and multiply it by one float32 factor, as ONNX's
own QLinearMatMul does. The other QLinear operators dequantise to float32, compute, and quantise again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.ops.pool import pooled
from fastgru.importers.onnx.ops.quantize import check_factors, dequantize, qlinear_conv, quantize, requantized, single
from fastgru.importers.onnx.registry import MICROSOFT, OnnxNode, operator

_LIMITS: Final = "integers of 8 bits"


def _real(node: OnnxNode, build: OnnxGraphBuilder, index: int) -> Value:
    """Dequantise input `index` to float32; its scale and zero point are the next two inputs."""
    x, scale, zero_point = node.input(index), single(node, build, index + 1, "scale", []), node.optional(index + 2)
    check_factors(node, ("an input", x))
    if zero_point is not None and zero_point.array is not None:
        zero_point = build.emit("reshape", zero_point, build.integers([]))
    return build.emit("dequantize", x, scale, zero_point, axis=1, block_size=0)


def _stored(node: OnnxNode, build: OnnxGraphBuilder, y: Value, index: int, dtype: str | None) -> Value:
    """Quantise y; its scale is input `index`, its zero point the next input, or 0 of `dtype`."""
    scale, zero_point = single(node, build, index, "scale", []), node.optional(index + 1)
    if zero_point is None:
        zero_point = build.constant(np.zeros((), dtype or "uint8"))
    if zero_point.array is not None:
        zero_point = build.emit("reshape", zero_point, build.integers([]))
    return build.emit("quantize", y, scale, zero_point, to=zero_point.dtype, axis=1, block_size=0)


def _binary(kind: str) -> Callable[[OnnxNode, OnnxGraphBuilder], Value]:
    def convert(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
        y = build.emit("binary", _real(node, build, 0), _real(node, build, 3), kind=kind)
        return _stored(node, build, y, 6, node.input(0).dtype)

    return convert


operator("QLinearAdd", versions=(1,), inputs=(7, 8), limits=_LIMITS, domain=MICROSOFT)(_binary("add"))
operator("QLinearMul", versions=(1,), inputs=(7, 8), limits=_LIMITS, domain=MICROSOFT)(_binary("mul"))


def _of_one(
    function: Callable[[OnnxNode, OnnxGraphBuilder, Value], Value],
) -> Callable[[OnnxNode, OnnxGraphBuilder], Value]:
    """Return the function of an operator whose inputs are X, the scale and zero point of X, and those of the output."""

    def convert(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
        return _stored(node, build, function(node, build, _real(node, build, 0)), 3, node.input(0).dtype)

    return convert


def _sigmoid(node: OnnxNode, build: OnnxGraphBuilder, x: Value) -> Value:
    return build.emit("activation", x, kind="sigmoid")


def _leaky_relu(node: OnnxNode, build: OnnxGraphBuilder, x: Value) -> Value:
    return build.emit("activation", x, kind="leaky_relu", alpha=node.attrs.number("alpha", 0.01))


def _softmax(node: OnnxNode, build: OnnxGraphBuilder, x: Value) -> Value:
    axis = node.attrs.integer("axis", -1)
    if node.attrs.integer("opset") < 13 and axis not in (-1, (x.rank or 0) - 1):
        raise node.unsupported(
            f"attribute 'axis' is {axis} in an opset before 13", "quantise a model of opset 13 or later"
        )
    return build.emit("softmax", x, axis=axis)


def _rank(node: OnnxNode, x: Value) -> int:
    if x.rank is None:
        raise node.unsupported("the number of axes of X is not known", "export with shape inference")
    return x.rank


def _with_channels_last(
    node: OnnxNode, build: OnnxGraphBuilder, x: Value, function: Callable[[Value], Value], *, last: bool
) -> Value:
    """Apply `function` to x with its channels on axis 1. last: x and the result have them on the last axis."""
    if not last:
        return function(x)
    axes = list(range(_rank(node, x)))
    first = build.emit("transpose", x, perm=[0, axes[-1], *axes[1:-1]])
    return build.emit("transpose", function(first), perm=[0, *axes[2:], 1])


def _average_pool(node: OnnxNode, build: OnnxGraphBuilder, x: Value) -> Value:
    last = node.attrs.flag("channels_last", False)
    return _with_channels_last(node, build, x, lambda v: pooled(node, build, "average", v), last=last)


def _global_average(node: OnnxNode, build: OnnxGraphBuilder, x: Value) -> Value:
    begin = 1 if node.attrs.flag("channels_last", False) else 2
    axes = list(range(begin, _rank(node, x) - 2 + begin))
    return build.emit("reduce", x, kind="mean", axes=axes, keepdims=True)


@operator("NhwcMaxPool", versions=(1,), inputs=(1, 1), limits=_LIMITS, domain=MICROSOFT)
def _max_pool(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x = node.input(0)
    return _with_channels_last(node, build, x, lambda v: pooled(node, build, "max", v), last=True)


_CONSTANTS: Final = {3: "w", 4: "w_scale", 5: "w_zero_point", 8: "B"}


@operator("QLinearConv", versions=(1,), inputs=(8, 9), constants=_CONSTANTS, limits=_LIMITS, domain=MICROSOFT)
def _conv(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    last = node.attrs.flag("channels_last", False)
    return _with_channels_last(node, build, node.input(0), lambda v: qlinear_conv(node, build, v), last=last)


for _name, _function in {
    "QLinearSigmoid": _sigmoid,
    "QLinearLeakyRelu": _leaky_relu,
    "QLinearSoftmax": _softmax,
    "QLinearAveragePool": _average_pool,
    "QLinearGlobalAveragePool": _global_average,
}.items():
    operator(_name, versions=(1,), inputs=(4, 5), limits=_LIMITS, domain=MICROSOFT)(_of_one(_function))


@operator("QLinearConcat", versions=(1,), inputs=(5, None), limits=_LIMITS, domain=MICROSOFT)
def _concat(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    parts = [_real(node, build, i) for i in range(2, len(node.inputs), 3)]
    axis = node.attrs.integer("axis")
    y = parts[0] if len(parts) == 1 else build.emit("concat", *parts, axis=axis)
    return _stored(node, build, y, 0, node.input(2).dtype)


@operator("QLinearWhere", versions=(1,), inputs=(9, 9), limits=_LIMITS, domain=MICROSOFT)
def _where(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    y = build.emit("where", node.input(0), _real(node, build, 1), _real(node, build, 4))
    return _stored(node, build, y, 7, node.input(1).dtype)


def _scaled(build: OnnxGraphBuilder, total: Value, *factors: Value) -> Value:
    """Return an int32 total, cast to float32, times the product of the factors."""
    return build.emit("binary", build.emit("cast", total, to="float32"), _product(build, factors), kind="mul")


def _product(build: OnnxGraphBuilder, factors: Sequence[Value]) -> Value:
    factor = factors[0]
    for other in factors[1:]:
        factor = build.emit("binary", factor, other, kind="mul")
    return factor


def _biased(node: OnnxNode, build: OnnxGraphBuilder, y: Value, index: int) -> Value:
    bias = node.optional(index)
    return y if bias is None else build.emit("binary", y, bias, kind="add")


@operator("MatMulIntegerToFloat", versions=(1,), inputs=(4, 7), limits=_LIMITS, domain=MICROSOFT)
def _matmul_to_float(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    a, b = node.input(0), node.input(1)
    check_factors(node, ("A", a), ("B", b))
    total = build.emit("matmul_integer", a, b, node.optional(4), node.optional(5))
    y = _scaled(build, total, single(node, build, 2, "a_scale", [1]), single(node, build, 3, "b_scale", []))
    return _biased(node, build, y, 6)


@operator("DynamicQuantizeMatMul", versions=(1,), inputs=(3, 5), limits=_LIMITS, domain=MICROSOFT)
def _dynamic_matmul(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Multiply A, quantised by its own range, with B."""
    b = node.input(1)
    check_factors(node, ("B", b))
    a, scale, zero_point = build.emit_all("dynamic_quantize", [node.input(0)], 3, {})
    total = build.emit("matmul_integer", a, b, zero_point, node.optional(3))
    return _biased(node, build, _scaled(build, total, scale, single(node, build, 2, "b_scale", [])), 4)


@operator("QGemm", versions=(1,), inputs=(6, 9), limits=_LIMITS, domain=MICROSOFT)
def _qgemm(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """alpha * A' B' + C, where transA and transB transpose A' and B'; in float32 if there is no y_zero_point."""
    a, b, c, alpha = node.input(0), node.input(3), node.optional(6), node.attrs.number("alpha", 1.0)
    check_factors(node, ("A", a), ("B", b))
    a = build.emit("transpose", a, perm=[1, 0]) if node.attrs.flag("transA", False) else a
    b = build.emit("transpose", b, perm=[1, 0]) if node.attrs.flag("transB", False) else b
    total = build.emit("matmul_integer", a, b, node.input(2), node.input(5))
    total = total if c is None else build.emit("binary", total, c, kind="add")
    factors = [single(node, build, 1, "a_scale", []), single(node, build, 4, "b_scale", [])]
    if alpha != 1:
        factors.append(build.constant(alpha, dtype="float32"))
    zero = node.optional(8)
    if zero is None:
        return _scaled(build, total, *factors)
    y_scale = single(node, build, 7, "y_scale", [])
    return requantized(node, build, total, build.emit("binary", _product(build, factors), y_scale, kind="div"), zero)


def _as_of(version: int, convert: Callable[..., Any]) -> Callable[[OnnxNode, OnnxGraphBuilder], Value]:
    """Return the function of the ONNX operator of the same name, fixed to one version."""

    def converted(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
        value: Value = convert(node._replace(version=version), build)
        return value

    return converted


operator("QuantizeLinear", versions=(1,), inputs=(2, 3), domain=MICROSOFT)(_as_of(13, quantize))
operator("DequantizeLinear", versions=(1,), inputs=(2, 3), domain=MICROSOFT)(_as_of(13, dequantize))
