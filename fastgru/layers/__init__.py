"""Layers to compose in Python, with the shapes and defaults of torch.nn. Each is a graph that the engine runs."""

from fastgru.layers.activation import (
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from fastgru.layers.base import Layer
from fastgru.layers.cell import GRUCell
from fastgru.layers.gate import Gate
from fastgru.layers.gru import GRU
from fastgru.layers.linear import Embedding, Linear
from fastgru.layers.norm import BatchNorm1d, LayerNorm
from fastgru.layers.sequential import Sequential
from fastgru.layers.shape import Dropout, Identity, LastStep, Select, Transpose

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "SELU",
    "BatchNorm1d",
    "Dropout",
    "Embedding",
    "GRUCell",
    "Gate",
    "Hardsigmoid",
    "Hardswish",
    "Identity",
    "LastStep",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "PReLU",
    "ReLU",
    "Select",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "Transpose",
]
