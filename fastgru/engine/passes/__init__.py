"""Passes over a graph, once an executable: what does not depend on the inputs is computed, what no output needs goes.

Arithmetic between constants is carried out in float64, whatever their own precision, and rounded to the precision of a
plan when it is read: the whole graph has one precision, that of the plan. Nodes that only move elements keep dtypes.
"""

from __future__ import annotations

from fastgru.engine.passes.convolutions import merge_into_convolutions
from fastgru.engine.passes.folding import drop_dead, fold_constants, fold_node
from fastgru.engine.passes.merging import merge_batch_norm, merge_bias
from fastgru.engine.passes.transposes import lift_over_transposes
from fastgru.graph import Graph

__all__ = ["drop_dead", "fold_constants", "fold_node", "merge_batch_norm", "merge_bias", "simplify"]


def simplify(graph: Graph) -> Graph:
    """Every pass, in order. The inputs and outputs stay what they are."""
    graph = fold_constants(drop_dead(graph))
    return drop_dead(merge_into_convolutions(lift_over_transposes(merge_batch_norm(merge_bias(graph)))))
