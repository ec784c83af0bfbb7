"""GRU: one instruction for each direction, shared by a team if that pays."""

from contextlib import nullcontext
from functools import partial

from fastgru.engine.buffers import itemsize
from fastgru.engine.lowering import Node, PlanBuilder, Value, lowering
from fastgru.engine.ops.sequence import SequenceLayer
from fastgru.engine.sharing import choose
from fastgru.kernels.operands.gru import ALONE, GRU, gru_rows, gru_scratch, input_rows
from fastgru.kernels.operands.lowp import LOWP, LOWP_STEP_ROWS
from fastgru.kernels.operands.recurrent import STEP_ROWS
from fastgru.kernels.run import EVERYONE
from fastgru.packing.gru import PackedGRU, pack_gru
from fastgru.packing.panels import padded
from fastgru.precisions import WEIGHT_BYTES
from fastgru.simd.target import LANES
from fastgru.spec import SIGMOID, TANH, GRUSpec, GRUWeights


@lowering("gru")
def _lower_gru(builder: PlanBuilder, node: Node, *inputs: Value | None) -> list[Value]:
    """x, initial_h?, lengths?, mask?, then the weights -> y, h_n."""
    spec = GRUSpec.from_dict(node.attrs["spec"])
    layer = SequenceLayer(builder, node, spec, inputs, GRUWeights)
    T, N, H, chunk, ragged = layer.T, layer.N, spec.hidden_size, layer.chunk, layer.lengths is not None
    dtype, members, lowp = builder.float_dtype, builder.members, builder.lowp_weights(node)
    sharing = choose(members, T, N, spec, itemsize(dtype), WEIGHT_BYTES[lowp or dtype])
    builder.gain_s += sharing.gain_s

    step_rows = LOWP_STEP_ROWS if lowp else STEP_ROWS
    scratch = gru_scratch(N, padded(H, dtype), chunk, LANES[dtype], members, step_rows)
    if lowp is None:
        rows = input_rows(N, chunk, spec.input_size if ragged else 0, 0)
    else:
        rows = input_rows(N, chunk, LOWP[lowp].row(spec.input_size), LOWP[lowp].row(H))
    form = "after" if spec.reset_after else "before"
    alone = T == 1 and not ragged and layer.mask is None
    with builder.side_by_side() if sharing.side_by_side else nullcontext():
        for d, weights in enumerate(layer.weights):
            standard = spec.functions(d) == (SIGMOID, TANH) and spec.clip is None
            given = layer.operands(d) | {"split": sharing.split, "scratch": builder.new((scratch.total,))}
            given |= layer.packed(d, partial(pack_gru, spec, weights, dtype, lowp), PackedGRU._fields, form, lowp or "")
            order = None if alone else builder.new((members * gru_rows(T, N, chunk).total,), "int64")
            gathered = builder.new((members * rows.total,), "uint8" if lowp else None) if rows.total else None
            given |= {"order": order, "gathered": gathered}
            member = d if sharing.side_by_side else EVERYONE if sharing.split != ALONE else 0
            op = f"gru{'_step' if alone else ''}_reset_{form}{'' if standard else '_general'}"
            op += f"_{lowp}" if lowp else ""
            builder.emit(op, dtype, GRU, given, member=member)
    return layer.outputs
