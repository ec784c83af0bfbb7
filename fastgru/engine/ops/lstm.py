"""LSTM: one instruction for each direction."""

from fastgru.engine.lowering import Node, PlanBuilder, Value, lowering
from fastgru.engine.ops.sequence import SequenceLayer
from fastgru.spec import SIGMOID, TANH, LSTMSpec, LSTMWeights


@lowering("lstm")
def _lower_lstm(builder: PlanBuilder, node: Node, *inputs: Value | None) -> list[Value]:
    """x, initial_h?, lengths?, mask?, initial_c?, then the weights -> y, h_n, c_n."""
    spec = LSTMSpec.from_dict(node.attrs["spec"])
    layer = SequenceLayer(builder, node, spec, inputs, LSTMWeights)
    plain = spec.clip is None and not spec.input_forget and all(w.peephole is None for w in layer.weights)
    standard = all(spec.functions(d) == (SIGMOID, TANH, TANH) for d in range(spec.num_directions))
    return layer.emitted("lstm" if plain and standard else "lstm_general")
