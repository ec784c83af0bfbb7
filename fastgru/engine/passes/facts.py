"""What passes ask of a graph: who reads a value, and how many axes it has."""

from __future__ import annotations

from collections import Counter

from fastgru.graph import Graph

__all__ = ["count_readers", "ranks_of"]


def count_readers(graph: Graph) -> Counter[str]:
    """How often each value is read; being an output of the graph counts."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(spec.name for spec in graph.outputs)
    return readers


def ranks_of(graph: Graph) -> dict[str, int]:
    """The number of axes, of the values for which it follows from the operators alone."""
    ranks = {spec.name: len(spec.shape) for spec in graph.inputs if spec.shape is not None}
    ranks.update((name, array.ndim) for name, array in graph.constants.items())
    fixed = {"gru": 3, "lstm": 3, "rnn": 3, "last": 2, "flatten": 2}
    same = (
        "activation",
        "batch_norm",
        "clip",
        "dequantize",
        "layer_norm",
        "linear",
        "quantize",
        "softmax",
        "transpose",
        "unary",
    )
    for node in graph.nodes:
        if node.op in fixed:
            ranks.update((name, fixed[node.op]) for name in node.outputs if name)
        elif node.op in same and node.inputs[0] in ranks:
            ranks[node.outputs[0]] = ranks[node.inputs[0]]
    return ranks
