"""A graph that keeps weights small, with floats in their stead."""

from dataclasses import replace

import numpy as np

from fastgru.graph import Graph
from fastgru.reference.evaluate import evaluate

__all__ = ["with_plain_weights"]


def with_plain_weights(graph: Graph) -> Graph:
    """The graph without `precisions`: constants behind a `dequantize`, and in bfloat16, as the float32 they mean."""
    if not graph.precisions:
        return graph
    constants = {name: a.astype(np.float32) if a.dtype.name == "bfloat16" else a for name, a in graph.constants.items()}
    nodes = []
    kept: set[str] = set()
    for node in graph.nodes:
        if node.op == "dequantize" and all(name in constants for name in node.inputs if name):
            (constants[node.outputs[0]],) = evaluate(node, [constants[n] if n else None for n in node.inputs])
            kept.update(node.inputs)
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.inputs} | {spec.name for spec in graph.outputs}
    constants = {name: a for name, a in constants.items() if name in read or name not in kept}
    return replace(graph, nodes=tuple(nodes), constants=constants, precisions={})
