"""Operators on single elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_builder import Builder, RejectError
from graph_registry import generates
from onnx import TensorProto

# Operator: the domain of a tame answer, None for any.
SMOOTH: dict[str, tuple[float, float] | None] = {
    "Acos": (-0.95, 0.95), "Acosh": (1.1, 4), "Asin": (-0.95, 0.95), "Asinh": None, "Atan": None,
    "Atanh": (-0.9, 0.9), "Cos": (-20, 20), "Cosh": (-4, 4), "Erf": None, "Exp": (-6, 4), "Gelu": None,
    "HardSwish": None, "Log": (0.05, 50), "Mish": None, "Selu": (-20, 20), "Sigmoid": None, "Sin": (-20, 20),
    "Sinh": (-4, 4), "Softplus": None, "Softsign": None, "Sqrt": (0.01, 50), "Swish": None, "Tan": (-1.2, 1.2),
    "Tanh": None, "Elu": (-20, 20), "HardSigmoid": None, "Celu": (-20, 20),
}  # fmt: skip


@generates(*SMOOTH)
def smooth(b: Builder, op: str) -> object:
    domain = SMOOTH[op]
    bounds = {} if domain is None else {"low": domain[0], "high": domain[1]}
    attrs: dict[str, Any] = {}
    if op == "Gelu" and b.chance(0.5):
        attrs["approximate"] = b.pick(["none", "tanh"])
    if op in ("Elu", "Celu", "HardSigmoid", "Swish") and b.chance(0.6):
        attrs["alpha"] = b.pick([0.25, 0.5, 1.0, 1.5])
    if op == "HardSigmoid" and b.chance(0.5):
        attrs["beta"] = b.pick([0.0, 0.25, 0.5])
    if op == "Selu" and b.chance(0.5):
        attrs |= {"alpha": 1.5, "gamma": 1.25}
    return b.add(op, [b.value(**bounds)], **attrs)


@generates("Reciprocal")
def reciprocal(b: Builder, op: str) -> object:
    return b.add(op, [b.value(low=0.2, high=50) if b.chance(0.5) else b.value(low=-50, high=-0.2)])


@generates("Abs", "Neg", "Relu", "LeakyRelu")
def steady(b: Builder, op: str) -> object:
    kind = "i" if op in ("Abs", "Neg") and b.chance(0.2) else "f"
    attrs = {"alpha": b.pick([0.125, 0.3, -0.5])} if op == "LeakyRelu" and b.chance(0.6) else {}
    return b.add(op, [b.value(kind)], exact="no" if op == "LeakyRelu" else "moves", **attrs)


@generates("Ceil", "Floor", "Round", "Sign", "Shrink", "ThresholdedRelu")
def steps(b: Builder, op: str) -> object:
    attrs = {}
    if op == "ThresholdedRelu" and b.chance(0.6):
        attrs["alpha"] = b.pick([0.25, 0.5, -0.5])
    if op == "Shrink" and b.chance(0.6):
        attrs |= {"lambd": 0.25, "bias": b.pick([0.0, 0.5])}
    kind = "i" if op == "Sign" and b.chance(0.2) else "f"
    return b.add(op, [b.value(kind, exact=True)], exact="ring", **attrs)


@generates("IsNaN", "IsInf")
def specials(b: Builder, op: str) -> object:
    attrs = {}
    if op == "IsInf" and b.chance(0.5):
        attrs = {"detect_positive": b.integer(0, 1), "detect_negative": b.integer(0, 1)}
    x = b.value()
    if b.chance(0.6):
        odd = np.array([np.nan, np.inf, -np.inf, 1.0], x.dtype)
        x = b.constant(odd)
    return b.add(op, [x], **attrs)


@generates("Not")
def negation(b: Builder, op: str) -> object:
    return b.add(op, [b.value("b")])


@generates("Add", "Sub", "Mul")
def ring(b: Builder, op: str) -> object:
    x = b.value("i" if b.chance(0.2) else "f")
    pair = [x, x if b.chance(0.1) else b.other(x)]
    b.rng.shuffle(pair)
    return b.add(op, pair, exact="ring")


@generates("Div")
def division(b: Builder, op: str) -> object:
    if b.chance(0.2):
        x = b.value("i")
        return b.add(op, [x, b.other(x, low=1, high=5)])
    x = b.value()
    return b.add(op, [x, b.other(x, low=0.25, high=8)])


@generates("Pow")
def power(b: Builder, op: str) -> object:
    if b.chance(0.5):
        x = b.value(high=10, low=-10)
        exponent = np.array(b.pick([2.0, 3.0, 1.0, 0.0, 4.0]), x.dtype)
        whole = b.version(op) >= 12 and b.chance(0.3)
        return b.add(op, [x, b.constant(exponent, np.int64 if whole else None)])
    if b.chance(0.2) and b.version(op) >= 12:
        return b.add(op, [x := b.value("i", low=-5, high=5), b.other(x, low=0, high=4)])
    x = b.value(low=0.1, high=10)
    return b.add(op, [x, b.other(x, low=-2, high=2)])


@generates("Mod")
def remainder(b: Builder, op: str) -> object:
    if b.chance(0.5):
        x = b.value("i")
        y = b.other(x, low=1, high=5) if b.chance(0.7) else b.other(x, low=-5, high=-1)
        return b.add(op, [x, y], fmod=b.pick([None, 0, 1]))
    x = b.value(exact=True)
    divisor = b.constant(np.array(b.pick([0.5, 1.5, 2.0, -0.75]), x.dtype))
    return b.add(op, [x, divisor], exact="ring", fmod=1)


@generates("Max", "Min", "Sum", "Mean")
def variadic(b: Builder, op: str) -> object:
    x = b.value("i" if op in ("Max", "Min") and b.chance(0.2) else "f")
    values = [x] + [b.other(x) for _ in range(b.integer(0, 3))]
    b.rng.shuffle(values)
    return b.add(op, values, exact={"Max": "moves", "Min": "moves", "Sum": "ring"}.get(op, "no"))


@generates("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def comparison(b: Builder, op: str) -> object:
    kind = b.pick("ffib" if op == "Equal" else "ffi")
    x = b.value(kind, exact=True)
    return b.add(op, [x, b.other(x, exact=True)])


@generates("And", "Or", "Xor")
def logic(b: Builder, op: str) -> object:
    x = b.value("b")
    return b.add(op, [x, b.other(x)])


@generates("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
def bits(b: Builder, op: str) -> object:
    kind = b.pick(["i", "i", "int8", "uint8", "int16", "uint16"])
    x = b.value(kind, low=0 if kind[0] == "u" else -5, high=5)
    return b.add(op, [x] if op == "BitwiseNot" else [x, b.other(x, low=0, high=7)])


@generates("BitShift")
def shift(b: Builder, op: str) -> object:
    x = b.value("uint8", low=0, high=255)
    return b.add(op, [x, b.other(x, low=0, high=7)], direction=b.pick(["LEFT", "RIGHT"]))


@generates("PRelu")
def prelu(b: Builder, op: str) -> object:
    x = b.value(ranks=(1, 5))
    sizes = [(1, 1) if b.chance(0.3) or n != m else (n, m) for n, m in x.sizes][b.integer(0, x.rank - 1) :]
    return b.add(op, [x, b.fresh(sizes, x.dtype, -1, 1)])


@generates("Clip")
def clip(b: Builder, op: str) -> object:
    if b.version(op) >= 12 and b.chance(0.2):
        x = b.value("i")
        return b.add(op, [x, b.ints(-1, x.dtype), b.ints(2, x.dtype)])
    x = b.value()
    low, high = b.pick([(None, 0.5), (-0.25, None), (-0.5, 0.75), (None, None), (0.0, 6.0)])
    if b.version(op) < 11:
        return b.add(op, [x], exact="moves", min=low, max=high)
    bounds = [None if v is None else b.constant(np.array(v, x.dtype)) for v in (low, high)]
    if b.chance(0.2) and bounds[0] is not None:
        bounds[0] = b.fresh([], x.dtype, -1, 0)
    return b.add(op, [x, *bounds], exact="moves")


@generates("Where")
def where(b: Builder, op: str) -> object:
    x = b.value("i" if b.chance(0.2) else "f")
    y = b.other(x)
    sizes = x.sizes if b.chance(0.7) else x.sizes[b.integer(0, x.rank) :]
    found = [v for v in b.pool if v.dtype == np.bool_ and v.sizes == sizes]
    condition = b.pick(found) if found and b.chance(0.7) else b.fresh(sizes, np.bool_)
    return b.add(op, [condition, x, y], exact="moves")


TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64, np.dtype(np.int32): TensorProto.INT32, np.dtype(np.bool_): TensorProto.BOOL,
    np.dtype(np.int8): TensorProto.INT8, np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int16): TensorProto.INT16,
    np.dtype(np.uint16): TensorProto.UINT16,
}  # fmt: skip


def conversion(b: Builder) -> tuple[Any, Any]:
    """A value and a dtype that it fits, most of the time one the graph can go on with."""
    x = b.value(b.pick("ffiib"), exact=True)
    to = b.pick([b.float, b.float, np.int64, np.int64, np.int32, np.bool_, np.int8, np.uint8, np.int16, np.float64])
    to = np.dtype(to)
    if to.kind in "iu":
        info = np.iinfo(to)
        if not x.dtype.kind == "b" and not x.within(max(info.min, -(2**30)), min(info.max, 2**30)):
            raise RejectError("does not fit")
    return x, to


@generates("Cast")
def cast(b: Builder, op: str) -> object:
    if b.chance(0.1):
        return b.add(op, [b.value()], exact="moves", to=TYPES[b.float])
    x, to = conversion(b)
    return b.add(op, [x], exact="moves", to=TYPES[to])


@generates("CastLike")
def cast_like(b: Builder, op: str) -> object:
    x, to = conversion(b)
    return b.add(op, [x, b.fresh([], to, 0, 1)], exact="moves")


@generates("SwiGLU")
def swiglu(b: Builder, op: str) -> object:
    x = b.value(ranks=(1, 4))
    return b.add(op, [x, b.fresh(x.sizes, x.dtype)], alpha=b.pick([None, 1.0, 1.5]))
