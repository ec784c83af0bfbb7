"""Element-wise operators, with broadcasting. Narrow integers are computed as int64 and wrap around, as in NumPy."""

from math import prod

import numpy as np

from fastgru.engine.buffers import itemsize
from fastgru.engine.emission import Given
from fastgru.engine.fusion import computed
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.cast import as_dtype
from fastgru.engine.ops.shape import broadcast_to
from fastgru.engine.strides import broadcast_shape
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.kernels.operands import binary as binary_kernel
from fastgru.kernels.operands import fusion as fusion_kernel
from fastgru.kernels.operands import unary as unary_kernel
from fastgru.reference.binary import BITWISE
from fastgru.spec import ACTIVATIONS, Activation

__all__ = ["apply_binary", "apply_unary", "broadcast", "same_dtype", "selected", "wide"]


def same_dtype(builder: PlanBuilder, **values: Value | None) -> str:
    """Return the common dtype of the given values. Raises `ShapeError` if they differ: only cast converts."""
    dtypes = {name: builder.dtype(value) for name, value in values.items() if value is not None}
    if len(set(dtypes.values())) > 1:
        raise ShapeError(f"got {', '.join(f'{name} {dtype}' for name, dtype in dtypes.items())}, expected equal dtypes")
    return next(iter(dtypes.values()))


def wide(builder: PlanBuilder, value: Value) -> View:
    """Return the value in the dtype that kernels compute in: floats unchanged, all other dtypes as int64."""
    dtype = builder.dtype(value)
    return builder.view(value) if dtype == builder.float_dtype else as_dtype(builder, value, "int64")


def apply_unary(builder: PlanBuilder, kind: str, value: Value, *, alpha: float = 0.0, gamma: float = 0.0) -> View:
    """Return f(x), where `kind` is a kind of the operator `unary` that keeps the dtype."""
    dtype = builder.dtype(value)
    if dtype == builder.float_dtype:
        if kind in fusion_kernel.UNARY._fields:
            return computed(builder, kind, builder.view(value), alpha=alpha, gamma=gamma)
        return _each(builder, "unary_library", value, getattr(unary_kernel.LIBRARY, kind), dtype, writes="y")
    if kind not in unary_kernel.INTEGER._fields or (dtype == "bool" and kind != "abs"):
        raise ShapeError(f"{kind}: x has dtype {dtype}, expected a float")
    if dtype == "bool":
        return builder.view(value)
    y = _each(builder, "unary", wide(builder, value), getattr(unary_kernel.INTEGER, kind), "int64")
    return as_dtype(builder, y, dtype)


def _each(builder: PlanBuilder, op: str, value: Value, code: int, result: str, *, writes: str = "") -> View:
    """Return a fresh tensor of dtype `result`: function `code` of the kernel `op`, applied to each element."""
    x = builder.contiguous(value)
    y = builder.new(x.shape, result)
    if x.size:
        builder.emit(op, x.dtype, unary_kernel.UNARY, {"x": x, "y": y, "count": x.size, "code": code}, writes=writes)
    return y


@lowering("unary", kinds={
    *fusion_kernel.UNARY._fields, *unary_kernel.LIBRARY._fields, *unary_kernel.INTEGER._fields,
    *unary_kernel.TESTS._fields, "not",
})  # fmt: skip
def lower_unary(builder: PlanBuilder, node: Node, x: Value) -> list[Value]:
    """y = f(x)."""
    kind, dtype = node.attrs["kind"], builder.dtype(x)
    if kind == "not":
        if dtype != "bool":
            raise ShapeError(f"{kind}: got dtype {dtype}, expected bool")
        return [_logical(builder, "xor", x, Constant(np.array(True)))]
    if kind in unary_kernel.TESTS._fields:
        if dtype != builder.float_dtype:
            raise ShapeError(f"{kind}: x has dtype {dtype}, expected a float")
        return [_each(builder, "unary_test", x, getattr(unary_kernel.TESTS, kind), "bool")]
    if kind == "bitwise_not" and dtype in ("bool", builder.float_dtype):
        raise ShapeError(f"{kind}: x has dtype {dtype}, expected an integer")
    parameters = {name: node.attrs[name] for name in ("alpha", "gamma") if name in node.attrs}
    return [apply_unary(builder, kind, x, **parameters)]


def apply_binary(builder: PlanBuilder, kind: str, a: Value, b: Value) -> View:
    """Return a (op) b for operands of one dtype, where `kind` is a kind of the operator `binary`, or prelu."""
    dtype = same_dtype(builder, a=a, b=b)
    if dtype == "bool":
        raise ShapeError(f"{kind}: got bool, expected numbers; use logical for bool")
    if kind in BITWISE and dtype == builder.float_dtype:
        raise ShapeError(f"{kind}: got {dtype}, expected integers")
    if dtype != builder.float_dtype:
        code = getattr(binary_kernel.INTEGER, kind)
        result = broadcast(builder, "binary", "int64", "int64", code, a=wide(builder, a), b=wide(builder, b))
        return as_dtype(builder, result, dtype)
    views = [builder.view(a), builder.view(b)]
    if kind in fusion_kernel.BINARY:
        return computed(builder, kind, *views)
    if kind == "pow" and (power := _power(builder, views[0], b)) is not None:
        return power
    code = getattr(binary_kernel.LIBRARY, kind)
    return broadcast(builder, "binary_library", dtype, dtype, code, a=views[0], b=views[1])


def _power(builder: PlanBuilder, base: View, exponent: Value) -> View | None:
    """Return the power as a single cheaper operation with the same result; None if there is none."""
    if not isinstance(exponent, Constant) or exponent.array.size != 1:
        return None
    x = broadcast_to(base, broadcast_shape(base.shape, exponent.shape))
    match float(exponent.array.reshape(-1)[0]):
        case 2.0:
            return computed(builder, "mul", x, x)
        case 1.0:
            return x
        case -1.0:
            return computed(builder, "reciprocal", x)
        case 0.5:
            return computed(builder, "sqrt", x)
        case _:
            return None


def broadcast(builder: PlanBuilder, op: str, dtype: str, result: str, code: int | None = None, **views: View) -> View:
    """Return a fresh tensor of dtype `result` that `op` fills from the views, broadcast against each other."""
    shape = broadcast_shape(*(v.shape for v in views.values()))
    y = builder.new(shape, result)
    if y.size:
        rows, nditer = builder.broadcast_rows(shape, list(views.values()))
        given: Given = {**dict(zip(views, rows, strict=True)), "y": y, "nditer": nditer}
        if code is None:
            builder.emit(op, dtype, binary_kernel.WHERE, given)
        else:
            builder.emit(op, dtype, binary_kernel.BINARY, {**given, "code": code})
    return y


def _logical(builder: PlanBuilder, kind: str, a: Value, b: Value) -> View:
    if (dtypes := {builder.dtype(a), builder.dtype(b)}) != {"bool"}:
        raise ShapeError(f"{kind}: got {', '.join(sorted(dtypes))}, expected bool")
    code = binary_kernel.LOGICAL_CODES[kind]
    return broadcast(builder, "logical", "bool", "bool", code, a=builder.view(a), b=builder.view(b))


@lowering("activation", kinds=ACTIVATIONS)
def lower_activation(builder: PlanBuilder, node: Node, x: Value) -> list[Value]:
    """y = f(x), as an operation of a fusion."""
    f = Activation(**node.attrs)
    return [computed(builder, f.kind, builder.view(x), alpha=f.alpha, beta=f.beta)]


@lowering("binary", kinds={
    *fusion_kernel.BINARY, *binary_kernel.LIBRARY._fields, *binary_kernel.INTEGER._fields,
} - {"prelu"})  # fmt: skip
def lower_binary(builder: PlanBuilder, node: Node, a: Value, b: Value) -> list[Value]:
    """y = a (op) b. Only pow takes two dtypes, and its result has the dtype of a."""
    kind, dtype = node.attrs["kind"], builder.dtype(a)
    if kind == "pow" and dtype != (exponent := builder.dtype(b)):
        if dtype == "bool":
            raise UnsupportedModelError(
                f"pow of a bool to the power of {exponent} is not implemented; cast the bool to a number first"
            )
        if exponent == builder.float_dtype and dtype != builder.float_dtype:
            # An integer to a real power is computed as a float, and truncated at the end.
            result = apply_binary(builder, kind, as_dtype(builder, a, exponent), b)
            return [as_dtype(builder, result, dtype)]
        common = dtype if dtype == builder.float_dtype else "int64"
        result = apply_binary(builder, kind, as_dtype(builder, a, common), as_dtype(builder, b, common))
        return [as_dtype(builder, result, dtype)]
    return [apply_binary(builder, kind, a, b)]


@lowering("prelu")
def lower_prelu(builder: PlanBuilder, node: Node, x: Value, slope: Value) -> list[Value]:
    """x if x >= 0 else slope * x."""
    if broadcast_shape(x.shape, slope.shape) != x.shape:
        raise ShapeError(f"slope has shape {slope.shape}, expected one that broadcasts to {x.shape}")
    return [apply_binary(builder, "prelu", x, slope)]


@lowering("compare", kinds=binary_kernel.COMPARISONS._fields)
def lower_compare(builder: PlanBuilder, node: Node, a: Value, b: Value) -> list[Value]:
    """y (bool) = a (relation) b."""
    same_dtype(builder, a=a, b=b)
    left, right = wide(builder, a), wide(builder, b)
    code = getattr(binary_kernel.COMPARISONS, node.attrs["kind"])
    return [broadcast(builder, "compare", left.dtype, "bool", code, a=left, b=right)]


@lowering("logical", kinds=binary_kernel.LOGICAL_CODES)
def lower_logical(builder: PlanBuilder, node: Node, a: Value, b: Value) -> list[Value]:
    """y = a (and, or, xor) b, all bool."""
    return [_logical(builder, node.attrs["kind"], a, b)]


@lowering("where")
def lower_where(builder: PlanBuilder, node: Node, condition: Value, a: Value, b: Value) -> list[Value]:
    """a where the condition holds, else b."""
    return [selected(builder, condition, a, b)]


def selected(builder: PlanBuilder, condition: Value, a: Value, b: Value) -> View:
    """a where the condition (bool) holds, else b, broadcast against each other."""
    if builder.dtype(condition) != "bool":
        raise ShapeError(f"the condition has dtype {builder.dtype(condition)}, expected bool")
    dtype = same_dtype(builder, a=a, b=b)
    width, holds = f"int{8 * itemsize(dtype)}", builder.view(condition)
    return broadcast(builder, "where", width, dtype, condition=holds, a=builder.view(a), b=builder.view(b))


@lowering("clip")
def lower_clip(
    builder: PlanBuilder, node: Node, x: Value, low: Value | None = None, high: Value | None = None
) -> list[Value]:
    """min(max(x, low), high)."""
    dtype = builder.dtype(x)
    bounds = []
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and prod(bound.shape) != 1:
            raise ShapeError(f"{name} has shape {bound.shape}, expected a scalar")
        # The bound has no axes, so that it broadcasts to any x.
        bounds.append(None if bound is None else as_dtype(builder, bound, dtype).as_strided((), ()))
    if dtype == builder.float_dtype:
        ends = [v if v is not None else as_dtype(builder, Constant(np.array(e)), dtype)
                for v, e in zip(bounds, (-np.inf, np.inf), strict=True)]  # fmt: skip
        return [computed(builder, "clip", builder.view(x), *ends)]
    if dtype == "bool":
        raise UnsupportedModelError("clip of bool is not implemented; cast the bool to a number first")
    result: Value = x
    for kind, bound_view in zip(("max", "min"), bounds, strict=True):
        if bound_view is not None:
            result = apply_binary(builder, kind, result, bound_view)
    return [result]
