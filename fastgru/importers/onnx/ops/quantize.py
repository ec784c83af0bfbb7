"""Quantisation, and matrix multiplications and convolutions of quantised tensors.

QLinearMatMul and QLinearConv compute an exact int32 result, multiply it by one float32 factor, round and saturate.
"""

from typing import Final

from fastgru.graph import PRODUCT_DTYPES
from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.ops.conv import kernel_axes, windows
from fastgru.importers.onnx.proto import TensorProto
from fastgru.importers.onnx.registry import OnnxNode, operator
from fastgru.importers.onnx.tensors import dtype_name
from fastgru.reference.operator import is_floating, numpy_dtype
from fastgru.reference.quantize import STORED_DTYPES, TARGET_DTYPES

__all__ = ["check_factors", "dequantize", "qlinear_conv", "quantize", "requantized", "single"]

_VERSIONS: Final = (10, 13, 19, 21, 23, 24, 25, 28)
_LIMITS: Final = "integers of 8 and 16 bits"


def _checked(node: OnnxNode, name: str, dtype: str | None, known: tuple[str, ...]) -> None:
    if dtype is not None and dtype not in known:
        raise node.unsupported(
            f"{name} has element type {dtype}",
            f"use one of {', '.join(known)}: quantise the model to 8 bits, or load the model that it was made from",
        )


def _layout(node: OnnxNode) -> dict[str, int]:
    axis = node.attrs.integer("axis", 1) if node.version >= 13 else 1
    size = node.attrs.integer("block_size", 0) if node.version >= 21 else 0
    if size < 0:
        raise node.invalid(f"attribute 'block_size' is {size}, expected at least 0")
    return {"axis": axis, "block_size": size}


def _output_dtype(node: OnnxNode, since: int) -> str | None:
    number = node.attrs.integer("output_dtype", 0) if node.version >= since else 0
    return dtype_name(number, node.what) if number else None


@operator("QuantizeLinear", versions=_VERSIONS, inputs=(2, 3), limits=_LIMITS)
def quantize(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Quantise floating-point numbers to integers."""
    x, scale, zero_point = node.input(0), node.finite(node.input(1), "y_scale"), node.optional(2)
    layout, to = _layout(node), _output_dtype(node, 21)
    if node.version >= 19:
        node.attrs.flag("saturate", True)  # only for float8, which is refused
    if node.version >= 23 and (precision := node.attrs.integer("precision", 0)) not in (0, TensorProto.FLOAT):
        raise node.unsupported(
            f"attribute 'precision' is {dtype_name(precision, node.what)}", "x / y_scale is computed in float32"
        )
    if zero_point is not None:
        if zero_point.dtype is None:
            raise node.unsupported("the element type of y_zero_point does not follow from the file", "make it constant")
        if to not in (None, zero_point.dtype):
            raise node.invalid(f"attribute 'output_dtype' is {to}, but y_zero_point has {zero_point.dtype}")
        to = zero_point.dtype
    to = to or "uint8"
    _checked(node, "the output", to, TARGET_DTYPES)
    return build.emit("quantize", x, scale, zero_point, to=to, **layout)


@operator("DequantizeLinear", versions=_VERSIONS, inputs=(2, 3), limits=f"{_LIMITS}, and int32")
def dequantize(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    """Dequantise integers to floating-point numbers."""
    x, scale = node.input(0), node.finite(node.input(1), "x_scale")
    _checked(node, "x", x.dtype, STORED_DTYPES)
    layout, to = _layout(node), _output_dtype(node, 23)
    if to is not None and not is_floating(numpy_dtype(to)):
        raise node.invalid(f"attribute 'output_dtype' is {to}, expected a floating-point type")
    y = build.emit("dequantize", x, scale, node.optional(2), **layout)
    y.hint = x.hint
    return y if to in (None, scale.dtype) else build.emit("cast", y, to=to)


@operator("DynamicQuantizeLinear", versions=(11,), inputs=(1, 1), outputs=3)
def _dynamic_quantize(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    return build.emit_all("dynamic_quantize", [node.input(0)], 3, {})


def check_factors(node: OnnxNode, *named: tuple[str, Value]) -> None:
    """Raise `UnsupportedModelError` for any dtype other than 8-bit integers."""
    for name, value in named:
        _checked(node, name, value.dtype, PRODUCT_DTYPES)


@operator("MatMulInteger", versions=(10,), inputs=(2, 4))
def _matmul_integer(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    a, b = node.input(0), node.input(1)
    check_factors(node, ("A", a), ("B", b))
    return build.emit("matmul_integer", a, b, node.optional(2), node.optional(3))


@operator(
    "ConvInteger",
    versions=(10,),
    inputs=(2, 4),
    constants={1: "w", 3: "w_zero_point"},
    limits="one or two spatial axes",
)
def _conv_integer(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x, weight = node.input(0), node.input(1)
    return _convolved(node, build, x, weight, node.optional(2), node.optional(3))


def _convolved(
    node: OnnxNode, build: OnnxGraphBuilder, x: Value, weight: Value, x_zero: Value | None, weight_zero: Value | None
) -> Value:
    check_factors(node, ("x", x), ("w", weight))
    group, rank = kernel_axes(node, x, weight)
    return build.emit("conv_integer", x, weight, x_zero, weight_zero, group=group, **windows(node, rank))


def single(node: OnnxNode, build: OnnxGraphBuilder, index: int, name: str, axes: list[int]) -> Value:
    """Return a scale in float32; a vector gets new axes at `axes` so that it broadcasts."""
    value = node.finite(node.input(index), name)
    value = value if value.dtype == "float32" else build.emit("cast", value, to="float32")
    if value.array is not None and value.array.size == 1:
        return build.emit("reshape", value, build.integers([]))
    return build.emit("unsqueeze", value, axes=axes) if value.rank == 1 and axes else value


def requantized(node: OnnxNode, build: OnnxGraphBuilder, total: Value, factor: Value, zero_point: Value) -> Value:
    """saturate(round(total * factor) + zero_point)."""
    y = build.emit("binary", build.emit("cast", total, to="float32"), factor, kind="mul")
    if zero_point.dtype is None:
        raise node.unsupported("the element type of y_zero_point does not follow from the file", "make it constant")
    _checked(node, "the output", zero_point.dtype, PRODUCT_DTYPES)
    one = build.constant(1.0, dtype="float32")
    if zero_point.array is not None:
        if zero_point.array.size != 1:
            raise node.unsupported(f"y_zero_point has shape {zero_point.array.shape}", "use one for all of the output")
        zero_point = build.emit("reshape", zero_point, build.integers([]))
    return build.emit("quantize", y, one, zero_point, to=zero_point.dtype)


@operator("QLinearMatMul", versions=(10, 21), inputs=(8, 8), limits="integers of 8 bits")
def _qlinear_matmul(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    a, b = node.input(0), node.input(3)
    check_factors(node, ("a", a), ("b", b))
    total = build.emit("matmul_integer", a, b, node.input(2), node.input(5))
    of_rows, of_columns = single(node, build, 1, "a_scale", [1]), single(node, build, 4, "b_scale", [])
    factor = build.emit("binary", of_rows, of_columns, kind="mul")
    factor = build.emit("binary", factor, single(node, build, 6, "y_scale", [1]), kind="div")
    return requantized(node, build, total, factor, node.input(7))


@operator(
    "QLinearConv",
    versions=(10,),
    inputs=(8, 9),
    constants={3: "w", 4: "w_scale", 5: "w_zero_point", 8: "B"},
    limits="integers of 8 bits, one or two spatial axes",
)
def _qlinear_conv(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return qlinear_conv(node, build, node.input(0))


def qlinear_conv(node: OnnxNode, build: OnnxGraphBuilder, x: Value) -> Value:
    """Return the QLinearConv of x; the other operands, such as the scale of x, are the node's inputs."""
    weight, bias = node.input(3), node.optional(8)
    total = _convolved(node, build, x, weight, node.input(2), node.input(5))
    axes = list(range(1, (weight.rank or 0) - 1))
    if bias is not None:
        if bias.dtype != "int32" or bias.rank != 1:
            raise node.invalid(f"B is {bias.dtype} with {bias.rank} axes, expected a vector of int32")
        total = build.emit("binary", total, build.emit("unsqueeze", bias, axes=axes), kind="add")
    factor = build.emit(
        "binary", single(node, build, 1, "x_scale", []), single(node, build, 4, "w_scale", axes), kind="mul"
    )
    factor = build.emit("binary", factor, single(node, build, 6, "y_scale", []), kind="div")
    return requantized(node, build, total, factor, node.input(7))
