"""The simple recurrent layer: one instruction for each direction."""

from fastgru.engine.lowering import Node, PlanBuilder, Value, lowering
from fastgru.engine.ops.sequence import SequenceLayer
from fastgru.spec import RNNSpec, RNNWeights


@lowering("rnn")
def _lower_rnn(builder: PlanBuilder, node: Node, *inputs: Value | None) -> list[Value]:
    """x, initial_h?, lengths?, mask?, then the weights -> y, h_n."""
    return SequenceLayer(builder, node, RNNSpec.from_dict(node.attrs["spec"]), inputs, RNNWeights).emitted("rnn")
