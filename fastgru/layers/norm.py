"""torch.nn.LayerNorm and torch.nn.BatchNorm1d (with its running statistics), made from given weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self, Unpack

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import ShapeError, SpecError
from fastgru.layers.arrays import as_weight, at_key, integer, number
from fastgru.layers.base import Layer, NetworkBuilder, Options, Value

__all__ = ["BatchNorm1d", "LayerNorm"]


class LayerNorm(Layer):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, as torch.nn.LayerNorm.

    mean and var are computed over the last axes of x, which have the shape `normalized_shape`. weight and bias have the
    same shape; None means ones and zeros. Raises `ShapeError` for other shapes, and `SpecError` for a negative eps.
    """

    shown = "{normalized_shape}, eps={eps}"

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        eps: float = 1e-5,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        given = normalized_shape
        sizes = tuple(given) if isinstance(given, Sequence) or np.ndim(given) == 1 else (given,)  # type: ignore[arg-type]
        self.normalized_shape = tuple(integer("LayerNorm: normalized_shape", size, least=1) for size in sizes)
        if not sizes:
            raise SpecError("LayerNorm: normalized_shape is empty, expected one size or more")
        self.input_size = self.normalized_shape[-1]
        self.weight = None if weight is None else as_weight("LayerNorm: weight", weight)
        self.bias = None if bias is None else as_weight("LayerNorm: bias", bias)
        self.eps = _checked_eps("LayerNorm", eps)
        for name, array in (("weight", self.weight), ("bias", self.bias)):
            if array is not None and array.shape != self.normalized_shape:
                raise ShapeError(f"LayerNorm: {name} has shape {array.shape}, expected {self.normalized_shape}")

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        *,
        eps: float = 1e-5,
        **options: Unpack[Options],
    ) -> Self:
        """Build the layer from the torch.nn.LayerNorm at `prefix` of a state dict. The bias may be missing.

        eps: as in the module, because a state dict does not contain this number. Raises `SpecError` without a weight.
        """
        arrays = at_key(weights, prefix, ["weight"], optional=["bias"], what="LayerNorm")
        return cls(arrays["weight"].shape, **arrays, eps=eps, **options)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        k = len(self.normalized_shape)
        if len(x.shape) < k or any(
            s not in (None, n) for s, n in zip(x.shape[len(x.shape) - k :], self.normalized_shape, strict=True)
        ):
            raise ShapeError(f"{self!r}: input has shape {x.shape}, expected it to end with {self.normalized_shape}")
        scale = None if self.weight is None else graph.constant(self.weight, "weight")
        bias = None if self.bias is None else graph.constant(self.bias, "bias")
        return graph.apply("layer_norm", x, scale, bias, axis=len(x.shape) - k, epsilon=self.eps)


class BatchNorm1d(Layer):
    """y = (x - running_mean) / sqrt(running_var + eps) * weight + bias, as torch.nn.BatchNorm1d after training.

    x is (N, C) or (N, C, L), and all arrays are (C,). weight and bias may be None for ones and zeros. Raises
    `ShapeError` for other shapes, and `SpecError` for a negative eps.
    """

    shown = "{running_mean.shape[0]}, eps={eps}"

    def __init__(
        self,
        running_mean: ArrayLike,
        running_var: ArrayLike,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        eps: float = 1e-5,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        self.running_mean = as_weight("BatchNorm1d: running_mean", running_mean)
        self.running_var = as_weight("BatchNorm1d: running_var", running_var)
        dtype = self.running_mean.dtype
        shape = self.running_mean.shape
        self.weight = np.ones(shape, dtype) if weight is None else as_weight("BatchNorm1d: weight", weight)
        self.bias = np.zeros(shape, dtype) if bias is None else as_weight("BatchNorm1d: bias", bias)
        self.eps = _checked_eps("BatchNorm1d", eps)
        if len(shape) != 1:
            raise ShapeError(f"BatchNorm1d: running_mean has shape {shape}, expected (C,)")
        for name in ("running_var", "weight", "bias"):
            if getattr(self, name).shape != shape:
                raise ShapeError(f"BatchNorm1d: {name} has shape {getattr(self, name).shape}, expected {shape}")

    @classmethod
    def from_torch(
        cls,
        weights: Mapping[str, ArrayLike],
        prefix: str = "",
        *,
        eps: float = 1e-5,
        **options: Unpack[Options],
    ) -> Self:
        """Build the layer from the torch.nn.BatchNorm1d at `prefix` of a state dict. weight and bias may be missing.

        eps: as in the module, because a state dict does not contain this number. Raises `SpecError` without
        running_mean or running_var.
        """
        statistics = ["running_mean", "running_var"]
        arrays = at_key(weights, prefix, statistics, optional=["weight", "bias"], what="BatchNorm1d")
        return cls(**arrays, eps=eps, **options)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        (C,) = self.running_mean.shape
        if len(x.shape) not in (2, 3) or x.shape[1] not in (None, C):
            raise ShapeError(f"{self!r}: input has shape {x.shape}, expected (N, {C}) or (N, {C}, L)")
        names = [
            graph.constant(getattr(self, name), name) for name in ("weight", "bias", "running_mean", "running_var")
        ]
        return graph.apply("batch_norm", x, *names, axis=1, epsilon=self.eps)


def _checked_eps(what: str, eps: float) -> float:
    if (checked := number(f"{what}: eps", eps)) < 0:
        raise SpecError(f"{what}: eps is {eps!r}, expected a number of at least 0")
    return checked
