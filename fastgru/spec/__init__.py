"""Specifications of recurrent layers as frozen data, with one module for each kind of layer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from fastgru.spec.activation import ACTIVATIONS, SIGMOID, TAKES_ALPHA, TAKES_BETA, TANH, Activation
from fastgru.spec.gru import GRUSpec, GRUWeights
from fastgru.spec.lstm import LSTMSpec, LSTMWeights
from fastgru.spec.recurrent import DIRECTIONS, RecurrentSpec, check_weights
from fastgru.spec.rnn import RNNSpec, RNNWeights

__all__ = [
    "ACTIVATIONS",
    "DIRECTIONS",
    "RECURRENT",
    "SIGMOID",
    "TAKES_ALPHA",
    "TAKES_BETA",
    "TANH",
    "Activation",
    "GRUSpec",
    "GRUWeights",
    "LSTMSpec",
    "LSTMWeights",
    "RNNSpec",
    "RNNWeights",
    "RecurrentSpec",
    "check_weights",
    "spec_of",
]

# The operators of recurrent layers. Their inputs are x, initial_h, lengths, mask, the initial values of other states,
# then the arrays of each direction. Their outputs are y and the states after the last step.
RECURRENT: Final[Mapping[str, type[RecurrentSpec]]] = MappingProxyType(
    {"gru": GRUSpec, "lstm": LSTMSpec, "rnn": RNNSpec}
)


def spec_of(op: str, attrs: Mapping[str, Any]) -> RecurrentSpec:
    """Return the spec of a node whose operator is in `RECURRENT`. Raises `SpecError`."""
    return RECURRENT[op].from_dict(attrs["spec"])
