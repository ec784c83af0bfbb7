"""torch.nn.Linear and torch.nn.Embedding, made from given weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, Unpack

from numpy.typing import ArrayLike

from fastgru.errors import ShapeError
from fastgru.layers.arrays import as_weight, at_key, check_last
from fastgru.layers.base import Layer, NetworkBuilder, Options, Value

__all__ = ["Embedding", "Linear"]


class Linear(Layer):
    """y = x weight^T + bias, as torch.nn.Linear.

    weight: (O, I). bias: (O,), or None for zeros. x is (..., I) and y is (..., O). Raises `ShapeError` for other
        shapes.
    """

    def __init__(self, weight: ArrayLike, bias: ArrayLike | None = None, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.weight = as_weight("Linear: weight", weight)
        self.bias = None if bias is None else as_weight("Linear: bias", bias)
        if self.weight.ndim != 2:
            raise ShapeError(f"Linear: weight has shape {self.weight.shape}, expected (O, I)")
        self.output_size, self.input_size = self.weight.shape
        if self.bias is not None and self.bias.shape != (self.output_size,):
            raise ShapeError(f"Linear: bias has shape {self.bias.shape}, expected {(self.output_size,)}")

    @classmethod
    def from_torch(cls, weights: Mapping[str, ArrayLike], prefix: str = "", **options: Unpack[Options]) -> Self:
        """Build the layer from the torch.nn.Linear at `prefix` of a state dict. The bias may be missing.

        Raises `SpecError` without a weight.
        """
        arrays = at_key(weights, prefix, ["weight"], optional=["bias"], what="Linear")
        return cls(**arrays, **options)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        assert self.input_size is not None
        check_last(repr(self), x, self.input_size)
        weight = graph.constant(self.weight, "weight")
        return graph.apply("linear", x, weight, None if self.bias is None else graph.constant(self.bias, "bias"))

    def _summary(self) -> str:
        return f"{self.input_size}, {self.output_size}, bias={self.bias is not None}"


class Embedding(Layer):
    """y = weight[ids], as torch.nn.Embedding.

    weight: (V, D). The ids (...) are integers from 0 to V - 1, and y is (..., D). Raises `ShapeError` for other shapes.
    """

    shown = "{weight.shape[0]}, {weight.shape[1]}"
    takes_ids = True

    def __init__(self, weight: ArrayLike, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.weight = as_weight("Embedding: weight", weight)
        if self.weight.ndim != 2:
            raise ShapeError(f"Embedding: weight has shape {self.weight.shape}, expected (V, D)")

    @classmethod
    def from_torch(cls, weights: Mapping[str, ArrayLike], prefix: str = "", **options: Unpack[Options]) -> Self:
        """Build the layer from the torch.nn.Embedding at `prefix` of a state dict.

        Raises `SpecError` without a weight.
        """
        return cls(**at_key(weights, prefix, ["weight"], what="Embedding"), **options)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        if not (x.dtype or "").startswith(("int", "uint")):
            raise ShapeError(f"{self!r}: input is {x.dtype}, expected integers")
        return graph.apply("embedding", x, graph.constant(self.weight, "weight"))
