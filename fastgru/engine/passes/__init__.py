"""Passes over a graph, made once for an executable. They compute what is constant and remove what no output needs.

Arithmetic between constants is done in float64, whatever their own dtype, and rounded to the precision of a plan when
the plan reads the result: the whole graph has one precision, that of the plan. Nodes that only move elements keep
dtypes.
"""

from functools import partial

import numpy as np

from fastgru.engine.passes.bodies import change_bodies
from fastgru.engine.passes.convolutions import merge_into_convolutions
from fastgru.engine.passes.folding import drop_dead, fold_constants, fold_node
from fastgru.engine.passes.joining import join_alike
from fastgru.engine.passes.merging import merge_batch_norm, merge_bias
from fastgru.engine.passes.quantised import merge_quantised
from fastgru.engine.passes.rows import kept_rows
from fastgru.engine.passes.transposes import lift_over_transposes
from fastgru.graph import Graph

__all__ = [
    "drop_dead",
    "fold_constants",
    "fold_node",
    "join_alike",
    "merge_batch_norm",
    "merge_bias",
    "merge_quantised",
    "settle",
    "simplify",
]


@np.errstate(all="ignore")
def simplify(graph: Graph, *, keep_rows: bool = False) -> Graph:
    """Apply every pass, in order. Inputs and outputs do not change. keep_rows: see `settle`."""
    graph = merge_into_convolutions(lift_over_transposes(settle(graph, keep_rows=keep_rows)))
    return drop_dead(change_bodies(graph, simplify))


def settle(graph: Graph, *, keep_rows: bool = False) -> Graph:
    """Apply the passes that change the weights of GEMMs and recurrent layers.

    keep_rows: do not convert weights to floats that int8 kernels can take as they are.
    """
    graph = drop_dead(graph)
    graph = fold_constants(graph, keep=kept_rows(graph) if keep_rows else ())
    graph = merge_batch_norm(merge_bias(graph))
    return drop_dead(change_bodies(graph, partial(settle, keep_rows=keep_rows)))
