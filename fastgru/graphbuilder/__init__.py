"""The builder of all graphs: for importers, for layers, and for graphs whose weights get a lower precision.

    graph = GraphBuilder()
    x = graph.input("x", "float32", (None, 40), ("batch", None))
    y = graph.add("linear", [x, graph.constant(weight, "fc.weight")], "fc")
    graph.graph({"x": x}, {"y": y})

A value knows its dtype, its sizes and, if it is a small vector of integers, its elements, as far as they follow from
the facts of the operators before it. Names are assigned at the end, and each is unique.
"""

from fastgru.graphbuilder.builder import MAX_RANK, GraphBuilder
from fastgru.graphbuilder.folding import Folding
from fastgru.graphbuilder.naming import build_body, needed_nodes
from fastgru.graphbuilder.value import BuiltBody, BuiltNode, Value

__all__ = ["MAX_RANK", "BuiltBody", "BuiltNode", "Folding", "GraphBuilder", "Value", "build_body", "needed_nodes"]
