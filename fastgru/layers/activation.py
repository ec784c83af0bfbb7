"""Activations under the names, and with the defaults, that torch.nn gives them."""

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
    """One node, of the operator and the attributes that the head of the subclass fixes."""

    op: ClassVar[str] = "activation"
    attrs: Mapping[str, Any] = MappingProxyType({})

    def __init_subclass__(cls, **fixed: Any) -> None:
        if fixed:
            cls.op, cls.attrs = fixed.pop("op", cls.op), MappingProxyType(fixed)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        return graph.apply(self.op, x, **self.attrs)


class ReLU(_Elementwise, kind="relu"):
    """max(x, 0)."""


class Sigmoid(_Elementwise, kind="sigmoid"):
    """1 / (1 + exp(-x))."""


class Tanh(_Elementwise, kind="tanh"):
    """tanh(x)."""


class Softsign(_Elementwise, kind="softsign"):
    """x / (1 + |x|)."""


class Hardsigmoid(_Elementwise, kind="hard_sigmoid", alpha=1 / 6, beta=0.5):
    """min(max(x / 6 + 1 / 2, 0), 1)."""


class Hardswish(_Elementwise, op="unary", kind="hard_swish"):
    """x * min(max(x / 6 + 1 / 2, 0), 1)."""


class SiLU(_Elementwise, op="unary", kind="silu"):
    """x / (1 + exp(-x))."""


class SELU(_Elementwise, op="unary", kind="selu", **conventions.SELU):
    """scale * (x if x > 0 else alpha * (exp(x) - 1)); see `fastgru.conventions`."""


class ELU(_Elementwise):
    """x if x >= 0 else alpha * (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.attrs = {"kind": "elu", "alpha": number("ELU: alpha", alpha)}


class LeakyReLU(_Elementwise):
    """x if x >= 0 else negative_slope * x."""

    def __init__(self, negative_slope: float = 0.01, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.attrs = {"kind": "leaky_relu", "alpha": number("LeakyReLU: negative_slope", negative_slope)}


class GELU(_Elementwise):
    """x * Phi(x), by erf (approximate="none") or by tanh (approximate="tanh")."""

    op = "unary"

    def __init__(self, approximate: str = "none", **options: Unpack[Options]) -> None:
        super().__init__(**options)
        kinds = {"none": "gelu", "tanh": "gelu_tanh"}
        if not isinstance(approximate, str) or approximate not in kinds:
            raise SpecError(f"GELU: approximate is {approximate!r}, expected 'none' or 'tanh'")
        self.attrs = {"kind": kinds[approximate]}


class Softplus(Layer):
    """log(1 + exp(beta * x)) / beta.

    torch switches to x itself where beta * x > 20; the formula is kept here, and differs by less than 2.1e-9 / beta.
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
    """x if x >= 0 else weight * x; weight (1,), or (C,) along axis 1 of x (N, C, ...)."""

    shown = "{weight.size}"

    def __init__(self, weight: ArrayLike, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.weight = as_weight("PReLU: weight", weight)
        if self.weight.ndim != 1 or self.weight.size == 0:
            raise ShapeError(f"PReLU: weight has shape {self.weight.shape}, expected (1,) or (C,)")

    @classmethod
    def from_torch(cls, weights: Mapping[str, ArrayLike], prefix: str = "", **options: Unpack[Options]) -> Self:
        """The module `prefix` of a state dict: weight. Raises `SpecError` without it."""
        return cls(**at_key(weights, prefix, ["weight"], what="PReLU"), **options)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        C = self.weight.size
        if C > 1 and (len(x.shape) < 2 or x.shape[1] not in (None, C)):
            raise ShapeError(f"{self!r}: input has shape {x.shape}, expected (N, {C}, ...)")
        slope = self.weight.reshape((1,) if C == 1 else (C, *(1 for _ in x.shape[2:])))
        return graph.apply("prelu", x, graph.constant(slope, "weight"))


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along the axis `dim`."""

    shown = "dim={dim}"
    op: ClassVar[str] = "softmax"

    def __init__(self, dim: int, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.dim = integer(f"{type(self).__name__}: dim", dim)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        return graph.apply(self.op, x, axis=axis_of(repr(self), x, self.dim))


class LogSoftmax(Softmax):
    """x - log(sum(exp(x))) along the axis `dim`."""

    op = "log_softmax"
