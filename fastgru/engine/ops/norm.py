"""Normalisation: layer_norm and rms_norm over rows, group_norm over groups of channels.

batch_norm becomes a multiplication by a factor and an addition of a shift, one of each for a channel.
"""

from math import prod

import numpy as np

from fastgru.engine.fusion import computed
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.cast import number
from fastgru.engine.ops.elementwise import apply_binary, apply_unary, same_dtype
from fastgru.kernels.operands.norm import GROUP_NORM, ROW_NORM
from fastgru.reference.norm import check_factors, check_group_norm, check_row_norm
from fastgru.reference.shape import normal_axis


@lowering("layer_norm")
@lowering("rms_norm")
def _lower_layer_norm(
    builder: PlanBuilder, node: Node, x_value: Value, scale: Value | None = None, bias: Value | None = None
) -> list[Value]:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, or x / sqrt(mean(x^2) + epsilon) * scale."""
    x = builder.contiguous(builder.floats(x_value))
    axis = normal_axis(node.attrs["axis"], x.ndim)
    tail = x.shape[axis:]
    check_row_norm(x, axis, scale=scale, bias=bias)
    same_dtype(builder, x=x, scale=scale, bias=bias)
    factors = {
        name: None if value is None else builder.contiguous(value) for name, value in (("scale", scale), ("bias", bias))
    }
    y = builder.new(x.shape)
    epsilon = float(node.attrs["epsilon"])
    if x.size:
        builder.emit(node.op, x.dtype, ROW_NORM, {
            "x": x, "y": y, **factors, "epsilon": number(builder, epsilon), "rows": prod(x.shape[:axis]),
            "n": prod(tail),
        }, writes="y")  # fmt: skip
    return [y]


@lowering("group_norm")
def _lower_group_norm(builder: PlanBuilder, node: Node, x_value: Value, scale: Value, bias: Value) -> list[Value]:
    """(x - mean) / sqrt(var + epsilon) over each group of channels, then scale and bias for each channel."""
    same_dtype(builder, x=x_value, scale=scale, bias=bias)
    groups = check_group_norm(x_value.shape, scale.shape, bias.shape, node.attrs.get("groups"))
    x = builder.contiguous(builder.floats(x_value))
    y = builder.new(x.shape)
    if x.size:
        builder.emit("group_norm", x.dtype, GROUP_NORM, {
            "x": x, "y": y, "scale": builder.contiguous(scale), "bias": builder.contiguous(bias),
            "epsilon": number(builder, float(node.attrs["epsilon"])), "N": x.shape[0], "groups": groups,
            "channels": x.shape[1] // groups, "S": prod(x.shape[2:]),
        })  # fmt: skip
    return [y]


@lowering("batch_norm")
def _lower_batch_norm(
    builder: PlanBuilder, node: Node, x_value: Value, scale: Value, bias: Value, mean: Value, var: Value
) -> list[Value]:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, along one axis."""
    x = builder.floats(x_value)
    axis = normal_axis(node.attrs["axis"], x.ndim)
    named = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    check_factors(x, x.shape[axis : axis + 1], **named)
    same_dtype(builder, x=x, **named)
    epsilon = float(node.attrs["epsilon"])
    if all(isinstance(v, Constant) for v in named.values()):
        factor, shift = _folded(builder, node, named, epsilon)
    else:
        root = apply_unary(builder, "sqrt", apply_binary(builder, "add", named["var"], Constant(np.array(epsilon))))
        factor = apply_binary(builder, "div", named["scale"], root)
        shift = apply_binary(builder, "sub", named["bias"], apply_binary(builder, "mul", named["mean"], factor))
    return [computed(builder, "fma", x, _along(factor, axis, x.ndim), _along(shift, axis, x.ndim))]


def _folded(builder: PlanBuilder, node: Node, named: dict[str, Value], epsilon: float) -> tuple[View, View]:
    scale, bias, mean, var = (v.array.astype(np.float64) for v in named.values() if isinstance(v, Constant))
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + epsilon)
        shift = bias - mean * factor
    key = ("batch_norm", *node.inputs[1:], repr(epsilon))
    sources = list(named.values())
    return (
        builder.packed((*key, "factor"), lambda: factor.astype(builder.float_dtype), sources),
        builder.packed((*key, "shift"), lambda: shift.astype(builder.float_dtype), sources),
    )


def _along(view: View, axis: int, rank: int) -> View:
    """Return a vector as a tensor of `rank` axes, all of size 1 except `axis`."""
    shape = tuple(view.shape[0] if i == axis else 1 for i in range(rank))
    strides = tuple(view.strides[0] if i == axis else 0 for i in range(rank))
    return view.as_strided(shape, strides)
