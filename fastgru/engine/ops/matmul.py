"""Matrix products by NumPy's rules: a constant b becomes the weight of a GEMM, any other b is packed at run time."""

from math import prod

from fastgru.engine.buffers import contiguous_strides
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.elementwise import same_dtype
from fastgru.engine.ops.gemm import gemm
from fastgru.engine.ops.shape import reshaped
from fastgru.engine.strides import broadcast_shape, broadcast_strides, merged_axes, nditer_words
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.kernels.operands.linear import edge_elements
from fastgru.kernels.operands.matmul import MATMUL, PACK_PANELS, panel_elements
from fastgru.packing.panels import pack_vectors
from fastgru.simd.target import LANES

__all__ = ["lower_matmul", "multiplied"]


@lowering("matmul")
def lower_matmul(builder: PlanBuilder, node: Node, a_value: Value, b_value: Value) -> list[Value]:
    """y = a b. A vector a is a row, a vector b a column."""
    dtype = same_dtype(builder, a=a_value, b=b_value)
    if dtype != builder.float_dtype:
        raise UnsupportedModelError(
            f"a matrix product of {dtype} is not implemented; cast both matrices to float32 first"
        )
    if not a_value.ndim or not b_value.ndim:
        raise ShapeError(f"a {a_value.shape} and b {b_value.shape}, expected at least one axis each")
    if a_value.shape[-1] != b_value.shape[-2 if b_value.ndim > 1 else 0]:
        raise ShapeError(f"a {a_value.shape} and b {b_value.shape} do not fit together")
    if isinstance(b_value, Constant) and b_value.ndim == 2:
        weight = b_value.transposed
        return [gemm(builder, a_value, weight, None, (node.inputs[1], "transposed"), lowp=builder.lowp_weights(node))]
    return [multiplied(builder, builder.view(a_value), builder.view(b_value))]


def multiplied(builder: PlanBuilder, a: View, b: View) -> View:
    """Return a b, for tensors of at least one axis that fit together."""
    left = a if a.ndim > 1 else a.as_strided((1, *a.shape), (0, *a.strides))
    right = b if b.ndim > 1 else b.as_strided((*b.shape, 1), (*b.strides, 0))
    stack = broadcast_shape(left.shape[:-2], right.shape[:-2])
    M, K, O = left.shape[-2], left.shape[-1], right.shape[-1]
    if right.ndim == 2 and left.ndim > 2:  # one matrix for all of a: treat the stack of a as more rows
        left = reshaped(builder, left, (prod(left.shape[:-1]), K))
        y = _stacked(builder, left, right, (), left.shape[0], K, O)
    else:
        y = _stacked(builder, left, right, stack, M, K, O)
    shape = (*stack, *((M,) if a.ndim > 1 else ()), *((O,) if b.ndim > 1 else ()))
    return y.as_strided(shape, contiguous_strides(shape))


def _stacked(builder: PlanBuilder, a: View, b: View, stack: tuple[int, ...], M: int, K: int, O: int) -> View:
    if a.strides[-1] != 1 and K > 1:
        a = builder.contiguous(a)
    dtype = a.dtype
    y = builder.new((*stack, M, O))
    if y.size == 0:
        return y
    zeros = builder.packed(("zeros", str(O)), lambda: pack_vectors([None], O, dtype))
    edge = builder.new((edge_elements(O, dtype),))
    ready = None
    if b.buffer.depth < builder.depth:  # b is the same in every iteration
        ready = builder.made_of(b, "panels", lambda _: _packed(builder, b, K, O))
    panels = builder.new((panel_elements(K, O, LANES[dtype]),)) if ready is None else None
    outer = [v.as_strided(v.shape[:-2], v.strides[:-2]) for v in (a, b if ready is None else ready)]
    # The nd-iterator goes over the stack; its innermost row is a single matrix product.
    builder.emit("matmul", dtype, MATMUL, {
        "a": a, "b": b if ready is None else ready, "y": y, "zeros": zeros, "edge": edge, "panels": panels, "M": M,
        "K": K, "O": O, "a_m": a.strides[-2], "b_k": b.strides[-2], "b_o": b.strides[-1],
        "nditer": nditer_words([*merged_axes(stack, [broadcast_strides(v, stack) for v in outer]), (1, (1, 1))]),
    }, writes="y")  # fmt: skip
    return y


def _packed(builder: PlanBuilder, b: View, K: int, O: int) -> View:
    """Return each matrix of the stack of b as panels: (..., 1, elements of the panels)."""
    stack = b.shape[:-2]
    panels = builder.new((*stack, 1, panel_elements(K, O, LANES[b.dtype])))
    outer = merged_axes(stack, [b.strides[:-2]])
    builder.emit("pack_panels", b.dtype, PACK_PANELS, {
        "b": b, "panels": panels, "K": K, "O": O, "b_k": b.strides[-2], "b_o": b.strides[-1],
        "nditer": nditer_words([*outer, (1, (1,))]),
    }, writes="panels")  # fmt: skip
    return panels
