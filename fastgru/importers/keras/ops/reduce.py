"""Functions of `keras.ops` that reduce axes, or accumulate along one."""

from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.ops.elementwise import float_operand
from fastgru.importers.keras.registry import operation


def _reduced(call: Call, x: Tensor, value: Value, kind: str, base: str) -> Tensor:
    axes, keepdims = call.axes(x), call.layer.flag("keepdims", default=False)
    return Tensor(call.graph.add("reduce", [value], base, {"kind": kind, "axes": axes, "keepdims": keepdims}))


def _check_dtype(call: Call) -> None:
    dtype = call.layer.get("dtype", default=None)
    if dtype not in (None, "float32"):
        raise call.layer.unsupported(f"dtype is {dtype!r:.40}", "leave it out, and cast what comes")


@operation("Logsumexp", "Norm", "Prod")
def _reduction(call: Call) -> list[Tensor]:
    name = call.layer.class_name
    if name == "Norm" and (call.layer.get("ord", default=None) not in (None, 2, "fro") or len(call.axes(call.x)) != 1):
        raise call.layer.unsupported("its norm is not the length along one axis", "give one axis, and no ord")
    kind = {"Logsumexp": "log_sum_exp", "Norm": "l2", "Prod": "prod"}[name]
    x = float_operand(call)
    _check_dtype(call)
    return [_reduced(call, x, x.value, kind, call.base)]


@operation("Cumsum")
def _cumsum(call: Call) -> list[Tensor]:
    x = float_operand(call)
    _check_dtype(call)
    attrs = {"axis": call.one_axis(x), "exclusive": False, "reverse": False}
    return [Tensor(call.graph.add("cumsum", [x.value], call.base, attrs))]


def _variance(call: Call, base: str) -> Tensor:
    """Return the mean of the squared distances from the mean."""
    x, graph = float_operand(call), call.graph
    attrs = {"kind": "mean", "axes": call.axes(x), "keepdims": True}
    mean = graph.add("reduce", [x.value], f"{call.base}/mean", attrs)
    apart = graph.add("binary", [x.value, mean], f"{call.base}/centred", {"kind": "sub"})
    square = graph.add("binary", [apart, apart], f"{call.base}/square", {"kind": "mul"})
    return _reduced(call, x, square, "mean", base)


@operation("Var")
def _var(call: Call) -> list[Tensor]:
    return [_variance(call, call.base)]


@operation("Std")
def _std(call: Call) -> list[Tensor]:
    y = _variance(call, f"{call.base}/variance")
    return [y.but(value=call.graph.add("unary", [y.value], call.base, {"kind": "sqrt"}))]


@operation("Argmax", "Argmin")
def _arg(call: Call) -> list[Tensor]:
    x, layer = float_operand(call), call.layer
    axis, keepdims = call.one_axis(x), layer.flag("keepdims", default=False)
    attrs = {"kind": call.layer.class_name[3:], "axis": axis, "keepdims": keepdims, "select_last": False}
    y = call.graph.add("arg", [x.value], f"{call.base}/index", attrs)
    return [Tensor(call.graph.add("cast", [y], call.base, {"to": "int32"}))]


@operation("All", "Any")
def _logical(call: Call) -> list[Tensor]:
    x, kind = call.x, call.layer.class_name.lower()
    if x.dtype != "bool":
        raise call.layer.unsupported(f"its operand is {x.dtype}", "cast it first")
    return [_reduced(call, x, x.value, kind, call.base)]


@operation("Max", "Mean", "Min", "Sum")
def _numeric(call: Call) -> list[Tensor]:
    x, kind = call.x, call.layer.class_name.lower()
    if x.dtype == "bool" or (kind == "mean" and x.dtype != "float32"):
        raise call.layer.unsupported(f"its operand is {x.dtype}", "cast it first")
    if call.layer.get("initial", default=None) is not None:
        raise call.layer.unsupported(f"initial is {call.layer.get('initial')!r:.40}", "leave it out")
    return [_reduced(call, x, x.value, kind, call.base)]
