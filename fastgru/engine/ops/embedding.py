"""Lookups in a table of rows."""

from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View, lowering
from fastgru.engine.ops.cast import as_dtype, check_integers
from fastgru.engine.ops.indexing import gathered
from fastgru.errors import ShapeError
from fastgru.kernels.operands.embedding import EMBEDDING
from fastgru.packing.lowp import pack_rows


@lowering("embedding")
def _lower_embedding(builder: PlanBuilder, node: Node, ids: Value, table: Value) -> list[Value]:
    """Look up rows of a table by id. An id outside the table is an error at run time."""
    if table.ndim != 2:
        raise ShapeError(f"weight has shape {table.shape}, expected (V, D)")
    lowp = builder.lowp_weights(node)
    if lowp is None or not isinstance(table, Constant):
        return [gathered(builder, table, ids, 0, wrap=False)]
    return [_looked_up(builder, table, ids, lowp)]


def _looked_up(builder: PlanBuilder, table: Constant, ids: Value, lowp: str) -> View:
    """Look up rows of a table that is kept in 16 or 8 bits."""
    check_integers(builder, ids=ids)
    V, D = table.shape
    rows = builder.packed((table.name, lowp, "rows"), lambda: pack_rows(table.matrix, lowp), [table])
    y = builder.new((*ids.shape, D))
    if y.size:
        where = builder.contiguous(as_dtype(builder, ids, "int64"))
        builder.emit(f"embedding_{lowp}", builder.float_dtype, EMBEDDING,
                     {"ids": where, "table": rows, "y": y, "count": where.size, "V": V, "D": D})  # fmt: skip
    return y
