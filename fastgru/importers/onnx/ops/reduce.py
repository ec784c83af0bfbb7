"""Reductions, and running sums and products."""

from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator

# ONNX name -> (kind, versions, the version from which axes is an input)
_REDUCE: Final = {
    "ReduceL1": ("l1", (1, 11, 13, 18), 18),
    "ReduceL2": ("l2", (1, 11, 13, 18), 18),
    "ReduceLogSum": ("log_sum", (1, 11, 13, 18, 28), 18),
    "ReduceLogSumExp": ("log_sum_exp", (1, 11, 13, 18, 28), 18),
    "ReduceMax": ("max", (1, 11, 12, 13, 18, 20), 18),
    "ReduceMean": ("mean", (1, 11, 13, 18), 18),
    "ReduceMin": ("min", (1, 11, 12, 13, 18, 20), 18),
    "ReduceProd": ("prod", (1, 11, 13, 18), 18),
    "ReduceSum": ("sum", (1, 11, 13), 13),
    "ReduceSumSquare": ("sum_square", (1, 11, 13, 18), 18),
}


def _reduce(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x, (kind, _, since) = node.input(0), _REDUCE[node.op]
    keepdims = node.attrs.flag("keepdims", True)
    if node.version < since:
        axes = node.attrs.integers("axes")
    else:
        axes = node.constant_integers(1, "axes")
        if node.attrs.flag("noop_with_empty_axes", False) and not axes:
            return _of_single_elements(kind, x, build)
    if x.dtype == "bool":
        kind = {"max": "any", "min": "all"}.get(kind, kind)
    return build.emit("reduce", x, kind=kind, axes=axes or [], keepdims=keepdims)


def _of_single_elements(kind: str, x: Value, build: OnnxGraphBuilder) -> Value:
    """Apply the element-wise steps of a reduction over no axes."""
    if kind == "sum_square":
        return build.emit("binary", x, x, kind="mul")
    alone = {"l1": "abs", "l2": "abs", "log_sum": "log"}
    return build.emit("unary", x, kind=alone[kind]) if kind in alone else x


for _name, (_kind, _versions, _since) in _REDUCE.items():
    operator(_name, versions=_versions, inputs=(1, 2), constants={1: "axes"})(_reduce)


@operator("ArgMax", versions=(1, 11, 12, 13), inputs=(1, 1))
@operator("ArgMin", versions=(1, 11, 12, 13), inputs=(1, 1))
def _arg(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return build.emit(
        "arg",
        node.input(0),
        kind=node.op.removeprefix("Arg").lower(),
        axis=node.attrs.integer("axis", 0),
        keepdims=node.attrs.flag("keepdims", True),
        select_last=node.attrs.flag("select_last_index", False),
    )


@operator("CumProd", versions=(26,), inputs=(2, 2), constants={1: "axis"})
@operator("CumSum", versions=(11, 14), inputs=(2, 2), constants={1: "axis"})
def _running(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    axis = node.constant_integers(1, "axis")
    if axis is None or len(axis) != 1:
        raise node.invalid(f"axis is {axis}, expected one integer")
    exclusive, reverse = node.attrs.flag("exclusive", False), node.attrs.flag("reverse", False)
    return build.emit(node.op.lower(), node.input(0), axis=axis[0], exclusive=exclusive, reverse=reverse)
