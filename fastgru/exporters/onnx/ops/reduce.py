"""Reductions along axes, and the running sum."""

from typing import Final

from fastgru.exporters.onnx.writer import OnnxWriter, exporter, kind_of
from fastgru.graph import Node

_REDUCE: Final = {
    "all": "ReduceMin",
    "any": "ReduceMax",
    "l1": "ReduceL1",
    "l2": "ReduceL2",
    "log_sum": "ReduceLogSum",
    "log_sum_exp": "ReduceLogSumExp",
    "max": "ReduceMax",
    "mean": "ReduceMean",
    "min": "ReduceMin",
    "prod": "ReduceProd",
    "sum": "ReduceSum",
    "sum_square": "ReduceSumSquare",
}


@exporter("reduce")
def _reduce(node: Node, write: OnnxWriter) -> None:
    axes = list(node.attrs["axes"])
    where = write.integers(axes) if axes else ""
    write.emit(kind_of(node, _REDUCE), node.inputs[0], where, out=node.outputs[0], keepdims=int(node.attrs["keepdims"]))


@exporter("arg")
def _arg(node: Node, write: OnnxWriter) -> None:
    write.emit(
        "ArgMax" if node.attrs["kind"] == "max" else "ArgMin",
        *node.inputs,
        out=node.outputs[0],
        axis=node.attrs["axis"],
        keepdims=int(node.attrs["keepdims"]),
        select_last_index=int(node.attrs["select_last"]),
    )


@exporter("cumsum")
def _cumsum(node: Node, write: OnnxWriter) -> None:
    flags = {name: int(node.attrs[name]) for name in ("exclusive", "reverse")}
    write.emit("CumSum", node.inputs[0], write.integers(node.attrs["axis"]), out=node.outputs[0], **flags)
