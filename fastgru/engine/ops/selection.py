"""GatherND and ReverseSequence."""

from math import prod

from fastgru.engine.buffers import contiguous_strides, itemsize
from fastgru.engine.lowering import Node, PlanBuilder, Value, lowering
from fastgru.engine.ops.cast import as_dtype, check_integers
from fastgru.kernels.operands.selection import GATHER_ND, REVERSE_SEQUENCE
from fastgru.reference.selection import check_gather_nd, check_reverse


@lowering("gather_nd")
def _lower_gather_nd(builder: PlanBuilder, node: Node, x_value: Value, indices: Value) -> list[Value]:
    """Gather blocks of x by tuples of positions."""
    check_integers(builder, indices=indices)
    lead = node.attrs.get("batch_dims", 0)
    check_gather_nd(x_value.shape, indices.shape, lead)
    x, ids = builder.contiguous(x_value), builder.contiguous(as_dtype(builder, indices, "int64"))
    depth = ids.shape[-1]
    block = x.shape[lead + depth :]
    y = builder.new((*ids.shape[:-1], *block), x.dtype)
    if y.size:
        size = itemsize(x.dtype)
        steps = [s * size for s in contiguous_strides(x.shape)[lead : lead + depth]]
        batches, count = prod(ids.shape[:lead]), prod(ids.shape[lead:-1])
        builder.emit("gather_nd", "int64", GATHER_ND, {
            "x": x, "ids": ids, "y": y, "batches": batches, "count": count, "depth": depth,
            "block": prod(block) * size, "apart": prod(x.shape[lead:]) * size,
            "axes": [*x.shape[lead : lead + depth], *steps],
        })  # fmt: skip
    return [y]


@lowering("reverse_sequence")
def _lower_reverse_sequence(builder: PlanBuilder, node: Node, x_value: Value, lengths: Value) -> list[Value]:
    """Reverse the valid steps of each row."""
    check_integers(builder, lengths=lengths)
    time, batch = node.attrs["time_axis"], node.attrs["batch_axis"]
    check_reverse(x_value.shape, lengths.shape, time, batch)
    x, ends = builder.contiguous(x_value), builder.contiguous(as_dtype(builder, lengths, "int64"))
    y = builder.new(x.shape, x.dtype)
    if y.size:
        steps = [s * itemsize(x.dtype) for s in contiguous_strides(x.shape)]
        builder.emit("reverse_sequence", "int64", REVERSE_SEQUENCE, {
            "x": x, "lengths": ends, "y": y, "T": x.shape[time], "N": x.shape[batch], "block": steps[1],
            "x_t": steps[time], "x_n": steps[batch],
        })  # fmt: skip
    return [y]
