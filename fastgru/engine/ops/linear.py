"""Linear layers, and lookups in a table of rows."""

from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.cast import as_dtype, check_integers
from fastgru.engine.ops.elementwise import apply_binary, same_dtype
from fastgru.engine.ops.gemm import gemm
from fastgru.engine.ops.indexing import gathered
from fastgru.engine.ops.matmul import multiplied
from fastgru.engine.ops.softmax import permuted
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.kernels.operands.embedding import EMBEDDING
from fastgru.packing.lowp import pack_rows
from fastgru.reference.linear import check_linear


@lowering("linear")
def _lower_linear(builder: PlanBuilder, node: Node, x: Value, weight: Value, bias: Value | None = None) -> list[Value]:
    """y = x W^T + b over the last axis."""
    dtype = same_dtype(builder, x=x, weight=weight, bias=bias)
    if dtype != builder.float_dtype:
        raise UnsupportedModelError(f"a linear layer of {dtype}: cast its inputs to float32 before it")
    check_linear(x, weight, bias)
    if isinstance(weight, Constant) and (bias is None or isinstance(bias, Constant)):
        name = "" if bias is None else node.inputs[2]
        return [gemm(builder, x, weight, bias, (node.inputs[1],), name, builder.lowp_weights(node))]
    y = multiplied(builder, builder.view(x), permuted(builder.view(weight), (1, 0)))
    return [y if bias is None else apply_binary(builder, "add", y, bias)]


@lowering("embedding")
def _lower_embedding(builder: PlanBuilder, node: Node, ids: Value, table: Value) -> list[Value]:
    """Rows of a table by id; an id outside the table is an error when it comes."""
    if table.ndim != 2:
        raise ShapeError(f"weight has shape {table.shape}, expected (V, D)")
    lowp = builder.lowp_weights(node)
    if lowp is None or not isinstance(table, Constant):
        return [gathered(builder, table, ids, 0, wrap=False)]
    return [_looked_up(builder, table, ids, lowp)]


def _looked_up(builder: PlanBuilder, table: Constant, ids: Value, lowp: str) -> View:
    """Rows of a table that is kept in 16 or 8 bits."""
    check_integers(builder, ids=ids)
    V, D = table.shape
    rows = builder.packed((table.name, lowp, "rows"), lambda: pack_rows(table.matrix, lowp), [table])
    y = builder.new((*ids.shape, D))
    if y.size:
        where = builder.contiguous(as_dtype(builder, ids, "int64"))
        builder.emit(f"embedding_{lowp}", builder.float_dtype, EMBEDDING,
                     {"ids": where, "table": rows, "y": y, "count": where.size, "V": V, "D": D})  # fmt: skip
    return y
