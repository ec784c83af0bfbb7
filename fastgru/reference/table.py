"""The table of operators: name to definition."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray

from fastgru.errors import ShapeError
from fastgru.reference import elementwise, indexing, linear, norm, reduce, shape, softmax
from fastgru.reference.gru import gru
from fastgru.reference.operator import Operator
from fastgru.spec import GRUSpec, GRUWeights

__all__ = ["OPS"]

Array = NDArray[Any]


def _gru(
    x: Array,
    initial_h: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    *weights: Array | None,
    spec: Mapping[str, Any],
) -> tuple[Array, Array]:
    """`fastgru.reference.gru.gru`, with weight_ih, weight_hh, bias_ih, bias_hh of each direction in a row."""
    form = GRUSpec.from_dict(spec)
    if len(weights) != 4 * form.num_directions:
        raise ShapeError(f"gru: {len(weights)} weight inputs, expected {4 * form.num_directions}")
    each = [GRUWeights(*weights[4 * d : 4 * d + 4]) for d in range(form.num_directions)]  # type: ignore[arg-type]
    return gru(form, each, x, initial_h, lengths, mask)


OPS: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        "activation": Operator(elementwise.activation),
        "arg": Operator(reduce.arg),
        "batch_norm": Operator(norm.batch_norm),
        "binary": Operator(elementwise.binary),
        "cast": Operator(elementwise.cast, converts=True),
        "clip": Operator(elementwise.clip),
        "compare": Operator(elementwise.compare),
        "concat": Operator(indexing.concat),
        "constant_of_shape": Operator(shape.constant_of_shape),
        "cumsum": Operator(reduce.cumsum),
        "embedding": Operator(linear.embedding),
        "expand": Operator(shape.expand),
        "flatten": Operator(shape.flatten),
        "gather": Operator(indexing.gather),
        "gather_elements": Operator(indexing.gather_elements),
        "gru": Operator(_gru),
        "last": Operator(indexing.last),
        "layer_norm": Operator(norm.layer_norm),
        "linear": Operator(linear.linear),
        "log_softmax": Operator(softmax.log_softmax),
        "logical": Operator(elementwise.logical),
        "matmul": Operator(linear.matmul),
        "pad": Operator(indexing.pad),
        "prelu": Operator(elementwise.prelu),
        "range": Operator(shape.arange),
        "reduce": Operator(reduce.reduce),
        "reshape": Operator(shape.reshape),
        "shape": Operator(shape.shape),
        "slice": Operator(indexing.slice_),
        "softmax": Operator(softmax.softmax),
        "split": Operator(indexing.split),
        "squeeze": Operator(shape.squeeze),
        "tile": Operator(indexing.tile),
        "transpose": Operator(shape.transpose),
        "unary": Operator(elementwise.unary),
        "unsqueeze": Operator(shape.unsqueeze),
        "where": Operator(elementwise.where),
    }
)
