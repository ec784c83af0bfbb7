"""Activations with the names and defaults of torch.nn."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self, Unpack

from numpy.typing import ArrayLike

from fastgru import conventions
from fastgru.errors import ShapeError, SpecError
from fastgru.layers.arrays import as_weight, at_key, axis_of, integer, number
from fastgru.layers.base import Layer, NetworkBuilder, Options, Value

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Hardsigmoid",
    "Hardswish",
    "LeakyReLU",
    "LogSoftmax",
    "PReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
]


class _Elementwise(Layer):
    """One node, with the operator and attributes that the subclass names in its class statement."""

    op: ClassVar[str] = "activation"
    attrs: Mapping[str, Any] = MappingProxyType({})

    def __init_subclass__(cls, **fixed: Any) -> None:
        if fixed:
            cls.op, cls.attrs = fixed.pop("op", cls.op), MappingProxyType(fixed)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        return graph.apply(self.op, x, **self.attrs)


class ReLU(_Elementwise, kind="relu"):
    """y = max(x, 0), as torch.nn.ReLU."""


class Sigmoid(_Elementwise, kind="sigmoid"):
    """y = 1 / (1 + exp(-x)), as torch.nn.Sigmoid."""


class Tanh(_Elementwise, kind="tanh"):
    """y = tanh(x), as torch.nn.Tanh."""


class Softsign(_Elementwise, kind="softsign"):
    """y = x / (1 + |x|), as torch.nn.Softsign."""


class Hardsigmoid(_Elementwise, kind="hard_sigmoid", alpha=1 / 6, beta=0.5):
    """y = min(max(x / 6 + 1 / 2, 0), 1), as torch.nn.Hardsigmoid."""


class Hardswish(_Elementwise, op="unary", kind="hard_swish"):
    """y = x * min(max(x / 6 + 1 / 2, 0), 1), as torch.nn.Hardswish."""


class SiLU(_Elementwise, op="unary", kind="silu"):
    """y = x / (1 + exp(-x)), as torch.nn.SiLU."""


class SELU(_Elementwise, op="unary", kind="selu", **conventions.SELU):
    """y = scale * (x if x > 0 else alpha * (exp(x) - 1)), as torch.nn.SELU, with alpha = 1.6733 and scale = 1.0507.

    The constants with all digits are in `fastgru.conventions.SELU`.
    """


class ELU(_Elementwise):
    """y = x if x >= 0 else alpha * (exp(x) - 1), as torch.nn.ELU."""

    def __init__(self, alpha: float = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.attrs = {"kind": "elu", "alpha": number("ELU: alpha", alpha)}


class LeakyReLU(_Elementwise):
    """y = x if x >= 0 else negative_slope * x, as torch.nn.LeakyReLU."""

    def __init__(self, negative_slope: float = 0.01, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.attrs = {"kind": "leaky_relu", "alpha": number("LeakyReLU: negative_slope", negative_slope)}


class GELU(_Elementwise):
    """y = x * Phi(x), as torch.nn.GELU, where Phi is the distribution function of the normal distribution.

    approximate: "none" computes Phi with erf, "tanh" approximates Phi with tanh. Raises `SpecError` for another value.
    """

    op = "unary"

    def __init__(self, approximate: str = "none", **options: Unpack[Options]) -> None:
        super().__init__(**options)
        kinds = {"none": "gelu", "tanh": "gelu_tanh"}
        if not isinstance(approximate, str) or approximate not in kinds:
            raise SpecError(f"GELU: approximate is {approximate!r}, expected 'none' or 'tanh'")
        self.attrs = {"kind": kinds[approximate]}


class Softplus(Layer):
    """y = log(1 + exp(beta * x)) / beta.

    torch.nn.Softplus returns x itself if beta * x > 20. This layer always computes the formula, which differs from x by
    less than 2.1e-9 / beta there. Raises `SpecError` if beta is 0.
    """

    def __init__(self, beta: float = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.beta = number("Softplus: beta", beta)
        if self.beta == 0:
            raise SpecError("Softplus: beta is 0")

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        if self.beta == 1:
            return graph.apply("activation", x, kind="softplus")
        scaled = graph.apply("activation", x, kind="affine", alpha=self.beta, beta=0.0)
        soft = graph.apply("activation", scaled, kind="softplus")
        return graph.apply("activation", soft, kind="affine", alpha=1 / self.beta, beta=0.0)


class PReLU(Layer):
    """y = x if x >= 0 else weight * x, as torch.nn.PReLU.

    weight: (1,), or (C,) for the channels along axis 1 of x (N, C, ...). Raises `ShapeError` for another shape.
    """

    shown = "{weight.size}"

    def __init__(self, weight: ArrayLike, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.weight = as_weight("PReLU: weight", weight)
        if self.weight.ndim != 1 or self.weight.size == 0:
            raise ShapeError(f"PReLU: weight has shape {self.weight.shape}, expected (1,) or (C,)")

    @classmethod
    def from_torch(cls, weights: Mapping[str, ArrayLike], prefix: str = "", **options: Unpack[Options]) -> Self:
        """Build the layer from the torch.nn.PReLU at `prefix` of a state dict. Raises `SpecError` without a weight."""
        return cls(**at_key(weights, prefix, ["weight"], what="PReLU"), **options)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        C = self.weight.size
        if C > 1 and (len(x.shape) < 2 or x.shape[1] not in (None, C)):
            raise ShapeError(f"{self!r}: input has shape {x.shape}, expected (N, {C}, ...)")
        slope = self.weight.reshape((1,) if C == 1 else (C, *(1 for _ in x.shape[2:])))
        return graph.apply("prelu", x, graph.constant(slope, "weight"))


class Softmax(Layer):
    """y = exp(x) / sum(exp(x)) along the axis `dim`, as torch.nn.Softmax. A negative `dim` counts from the end."""

    shown = "dim={dim}"
    op: ClassVar[str] = "softmax"

    def __init__(self, dim: int, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.dim = integer(f"{type(self).__name__}: dim", dim)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        return graph.apply(self.op, x, axis=axis_of(repr(self), x, self.dim))


class LogSoftmax(Softmax):
    """y = x - log(sum(exp(x))) along the axis `dim`, as torch.nn.LogSoftmax. A negative `dim` counts from the end."""

    op = "log_softmax"
