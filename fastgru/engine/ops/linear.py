"""Linear layers."""

from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, lowering
from fastgru.engine.ops.elementwise import apply_binary, same_dtype
from fastgru.engine.ops.gemm import gemm
from fastgru.errors import UnsupportedModelError
from fastgru.modules import importing
from fastgru.reference.linear import check_linear


@lowering("linear")
def _lower_linear(builder: PlanBuilder, node: Node, x: Value, weight: Value, bias: Value | None = None) -> list[Value]:
    """y = x W^T + b over the last axis."""
    dtype = same_dtype(builder, x=x, weight=weight, bias=bias)
    if dtype != builder.float_dtype:
        raise UnsupportedModelError(f"a linear layer of {dtype} is not implemented; cast its inputs to float32 first")
    check_linear(x, weight, bias)
    if isinstance(weight, Constant) and (bias is None or isinstance(bias, Constant)):
        name = "" if bias is None else node.inputs[2]
        return [gemm(builder, x, weight, bias, (node.inputs[1],), name, builder.lowp_weights(node))]
    with importing:
        from fastgru.engine.ops.matmul import multiplied
        from fastgru.engine.ops.softmax import permuted

    y = multiplied(builder, builder.view(x), permuted(builder.view(weight), (1, 0)))
    return [y if bias is None else apply_binary(builder, "add", y, bias)]
