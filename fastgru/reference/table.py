"""The table of operators: name to definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final

from numpy.typing import NDArray

from fastgru.errors import ShapeError
from fastgru.reference import (
    conv,
    elementwise,
    indexing,
    linear,
    norm,
    pool,
    quantize,
    reduce,
    scatter,
    selection,
    shape,
    softmax,
    spectral,
)
from fastgru.reference.attributes import Made
from fastgru.reference.einsum import check_equation, einsum
from fastgru.reference.gru import gru
from fastgru.reference.lstm import lstm
from fastgru.reference.operator import Operator
from fastgru.reference.resize import resize
from fastgru.reference.rnn import rnn
from fastgru.reference.topk import topk
from fastgru.reference.windows import check_forms
from fastgru.spec import GRUSpec, GRUWeights, LSTMSpec, LSTMWeights, RecurrentSpec, RNNSpec, RNNWeights

__all__ = ["OPS"]

Array = NDArray[Any]


def _gru(
    x: Array,
    initial_h: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    *weights: Array | None,
    spec: Annotated[Mapping[str, Any], Made(GRUSpec.from_dict)],
) -> tuple[Array, Array]:
    """`fastgru.reference.gru.gru`, with weight_ih, weight_hh, bias_ih, bias_hh of each direction in a row."""
    form = GRUSpec.from_dict(spec)
    return gru(form, _each("gru", form, GRUWeights, weights), x, initial_h, lengths, mask)


def _lstm(
    x: Array,
    initial_h: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    initial_c: Array | None = None,
    *weights: Array | None,
    spec: Annotated[Mapping[str, Any], Made(LSTMSpec.from_dict)],
) -> tuple[Array, Array, Array]:
    """`fastgru.reference.lstm.lstm`, with the arrays of `LSTMWeights` of each direction in a row."""
    form = LSTMSpec.from_dict(spec)
    return lstm(form, _each("lstm", form, LSTMWeights, weights), x, initial_h, lengths, mask, initial_c)


def _rnn(
    x: Array,
    initial_h: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    *weights: Array | None,
    spec: Annotated[Mapping[str, Any], Made(RNNSpec.from_dict)],
) -> tuple[Array, Array]:
    """`fastgru.reference.rnn.rnn`, with the arrays of `RNNWeights` of each direction in a row."""
    form = RNNSpec.from_dict(spec)
    return rnn(form, _each("rnn", form, RNNWeights, weights), x, initial_h, lengths, mask)


def _each(op: str, spec: RecurrentSpec, kind: Any, weights: Sequence[Array | None]) -> list[Any]:
    """The arrays of each direction as its dataclass; those that are absent in the end need not be named."""
    count = len(spec.weight_shapes)
    if len(weights) > count * spec.num_directions:
        raise ShapeError(f"{op}: {len(weights)} weight inputs, expected {count * spec.num_directions}")
    weights = [*weights, *[None] * (count * spec.num_directions - len(weights))]
    return [kind(*weights[count * d : count * (d + 1)]) for d in range(spec.num_directions)]


OPS: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        "activation": Operator(elementwise.activation, agree=elementwise.check_activation),
        "arg": Operator(reduce.arg),
        "batch_norm": Operator(norm.batch_norm),
        "binary": Operator(elementwise.binary),
        "cast": Operator(elementwise.cast, converts=True),
        "clip": Operator(elementwise.clip),
        "compare": Operator(elementwise.compare),
        "concat": Operator(indexing.concat),
        "constant_of_shape": Operator(shape.constant_of_shape, agree=shape.check_constant),
        "conv": Operator(conv.conv, agree=check_forms),
        "conv_integer": Operator(quantize.conv_integer, agree=check_forms),
        "conv_transpose": Operator(conv.conv_transpose, agree=check_forms),
        "cumprod": Operator(reduce.cumprod),
        "cumsum": Operator(reduce.cumsum),
        "dequantize": Operator(quantize.dequantize),
        "dft": Operator(spectral.dft),
        "dynamic_quantize": Operator(quantize.dynamic_quantize),
        "einsum": Operator(einsum, agree=check_equation),
        "embedding": Operator(linear.embedding),
        "expand": Operator(shape.expand),
        "flatten": Operator(shape.flatten),
        "gather": Operator(indexing.gather),
        "gather_elements": Operator(indexing.gather_elements),
        "gather_nd": Operator(selection.gather_nd),
        "group_norm": Operator(norm.group_norm),
        "gru": Operator(_gru),
        "last": Operator(indexing.last),
        "layer_norm": Operator(norm.layer_norm),
        "linear": Operator(linear.linear),
        "log_softmax": Operator(softmax.log_softmax),
        "logical": Operator(elementwise.logical),
        "lstm": Operator(_lstm),
        "matmul": Operator(linear.matmul),
        "matmul_integer": Operator(quantize.matmul_integer),
        "nonzero": Operator(selection.nonzero),
        "pad": Operator(indexing.pad),
        "pool": Operator(pool.pool, agree=check_forms),
        "prelu": Operator(elementwise.prelu),
        "quantize": Operator(quantize.quantize),
        "range": Operator(shape.arange),
        "reduce": Operator(reduce.reduce),
        "reshape": Operator(shape.reshape),
        "rnn": Operator(_rnn),
        "scatter_elements": Operator(scatter.scatter_elements),
        "scatter_nd": Operator(scatter.scatter_nd),
        "resize": Operator(resize),
        "reverse_sequence": Operator(selection.reverse_sequence),
        "rms_norm": Operator(norm.rms_norm),
        "shape": Operator(shape.shape),
        "slice": Operator(indexing.slice_),
        "softmax": Operator(softmax.softmax),
        "split": Operator(indexing.split),
        "squeeze": Operator(shape.squeeze),
        "stft": Operator(spectral.stft),
        "tile": Operator(indexing.tile),
        "topk": Operator(topk),
        "transpose": Operator(shape.transpose),
        "unary": Operator(elementwise.unary, agree=elementwise.check_unary),
        "unsqueeze": Operator(shape.unsqueeze),
        "where": Operator(elementwise.where),
    }
)
