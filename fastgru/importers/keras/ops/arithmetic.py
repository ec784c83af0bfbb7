"""Functions of `keras.ops` that functional models of Keras 3 use like layers, for example to make masks."""

from typing import Final

from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.layers.merging import check_numpy_broadcast
from fastgru.importers.keras.ops.elementwise import number_or_tensor
from fastgru.importers.keras.registry import operation

_ARITHMETIC: Final = {
    "Add": "add", "Divide": "div", "Maximum": "max", "Minimum": "min", "Multiply": "mul", "Power": "pow",
    "Subtract": "sub", "TrueDivide": "div",
}  # fmt: skip
_COMPARE: Final = {
    "Equal": "equal", "Greater": "greater", "GreaterEqual": "greater_equal", "Less": "less",
    "LessEqual": "less_equal", "NotEqual": "not_equal",
}  # fmt: skip
_LOGICAL: Final = {"LogicalAnd": "and", "LogicalOr": "or", "LogicalXor": "xor"}
_TWO: Final = {
    name: (op, kind)
    for op, kinds in (("binary", _ARITHMETIC), ("compare", _COMPARE), ("logical", _LOGICAL))
    for name, kind in kinds.items()
}


def _pair(call: Call) -> tuple[Tensor, Tensor]:
    """Return the two operands, one of which may be a number."""
    args = call.arguments.get("args", ())
    tensors = [a for a in args if isinstance(a, Tensor)]
    if len(args) != 2 or not tensors:
        raise call.layer.damaged(f"got {len(args)} arguments, expected two")
    operands = [number_or_tensor(call, arg, tensors[0], what) for arg, what in zip(args, "ab", strict=True)]
    if operands[0].dtype != operands[1].dtype:
        raise call.layer.unsupported(
            f"its operands are {operands[0].dtype} and {operands[1].dtype}", "cast one of them"
        )
    return operands[0], operands[1]


@operation(*_TWO)
def _two(call: Call) -> list[Tensor]:
    op, kind = _TWO[call.layer.class_name]
    a, b = _pair(call)
    if (op == "logical") != (a.dtype == "bool"):
        raise call.layer.unsupported(f"its operands are {a.dtype}", "cast them first")
    if kind == "div" and a.dtype != "float32":  # Keras divides integers as floats
        raise call.layer.unsupported(f"its operands are {a.dtype}", "cast them to float32 first")
    check_numpy_broadcast(call, a.shape, b.shape)
    return [Tensor(call.graph.add(op, [a.value, b.value], call.base, {"kind": kind}))]


@operation("ExpandDims")
def _expand_dims(call: Call) -> list[Tensor]:
    x, given = call.x, call.layer.integers("axis")
    rank = x.rank + len(given)
    axes = sorted(call.axis(x, a, rank=rank) for a in given)
    if len(set(axes)) != len(axes) or not axes:
        raise call.layer.damaged(f"axis is {list(given)}")
    return [Tensor(call.graph.add("unsqueeze", [x.value], call.base, {"axes": axes}))]


@operation("Squeeze")
def _squeeze(call: Call) -> list[Tensor]:
    x, layer = call.x, call.layer
    if layer.get("axis", default=None) is None:
        axes = [i for i, s in enumerate(x.shape) if s == 1]
    else:
        axes = sorted(call.axis(x, a) for a in layer.integers("axis"))
    return [Tensor(call.graph.add("squeeze", [x.value], call.base, {"axes": axes}))]


@operation("OnesLike", "ZerosLike")
def _filled(call: Call) -> list[Tensor]:
    x, number = call.inputs[0], int(call.layer.class_name == "OnesLike")
    dtype = call.arguments.get("dtype") or call.layer.get("dtype", default=None) or x.dtype
    if dtype not in ("bool", "float32", "int32", "int64"):
        raise call.layer.unsupported(f"dtype is {dtype!r:.40}", "use float32 or bool")
    shape = call.graph.add("shape", [x.value], f"{call.base}/shape", {"start": 0})
    return [Tensor(call.graph.add("constant_of_shape", [shape], call.base, {"value": number, "dtype": dtype}))]


@operation("LogicalNot")
def _logical_not(call: Call) -> list[Tensor]:
    if call.x.dtype != "bool":
        raise call.layer.unsupported(f"its operand is {call.x.dtype}", "cast it first")
    return [Tensor(call.graph.add("unary", [call.x.value], call.base, {"kind": "not"}))]


@operation("Cast")
def _cast(call: Call) -> list[Tensor]:
    dtype = call.layer.get("dtype", default=None) or call.arguments.get("dtype")
    if dtype not in ("bool", "float32", "int32", "int64"):
        raise call.layer.unsupported(f"dtype is {dtype!r:.40}", "cast to float32, int32, int64 or bool")
    y, x = call.graph.add("cast", [call.x.value], call.base, {"to": dtype}), call.x
    return [Tensor(y, x.mask) if dtype == x.dtype else Tensor(y)]


@operation("ConvertToTensor")
def _convert(call: Call) -> list[Tensor]:
    """Return the tensor unchanged, or cast. Keras writes this around the masks that some layers pass on."""
    dtype = call.layer.get("dtype", default=None) or call.arguments.get("dtype")
    x = call.inputs[0]
    return [x] if dtype in (None, x.dtype) else _cast(call)
