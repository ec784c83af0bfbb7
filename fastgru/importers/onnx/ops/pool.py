"""Pools over windows of one or two spatial axes, and global pools."""

from typing import Final

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.ops.conv import check_axes, windows
from fastgru.importers.onnx.registry import OnnxNode, operator

__all__ = ["pooled"]

_LIMITS: Final = "one or two spatial axes"


def pooled(node: OnnxNode, build: OnnxGraphBuilder, kind: str, x: Value) -> Value:
    """Pool x over the windows that the node's attributes define."""
    kernel = node.attrs.integers("kernel_shape")
    if not kernel:
        raise node.invalid("attribute 'kernel_shape' is missing")
    check_axes(node, len(kernel))
    if x.rank is not None and x.rank != len(kernel) + 2:
        raise node.invalid(f"X has {x.rank} axes and 'kernel_shape' is {kernel}, expected {x.rank - 2} numbers")
    attrs = windows(node, len(kernel)) | {"kernel": kernel, "ceil_mode": node.attrs.flag("ceil_mode", False)}
    if kind == "average":
        attrs["count_include_pad"] = node.attrs.flag("count_include_pad", False)
    return build.emit("pool", x, kind=kind, **attrs)


@operator("AveragePool", versions=(7, 10, 11, 19, 22), inputs=(1, 1), limits=_LIMITS)
def _average_pool(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return pooled(node, build, "average", node.input(0))


@operator("MaxPool", versions=(1, 8, 10, 11, 12, 22), inputs=(1, 1), outputs=2, limits=f"{_LIMITS}; no output Indices")
def _max_pool(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    if node.wants(1):
        raise node.unsupported("its output Indices is used", "export the model without it")
    node.attrs.flag("storage_order", False)  # affects only the output Indices
    return pooled(node, build, "max", node.input(0))


@operator("GlobalAveragePool", versions=(1, 22), inputs=(1, 1))
@operator("GlobalMaxPool", versions=(1, 22), inputs=(1, 1))
def _global(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x, kind = node.input(0), "max" if node.op == "GlobalMaxPool" else "mean"
    if x.rank is None:
        raise node.unsupported("the number of axes of X is not known", "export with shape inference")
    if x.rank < 3:
        raise node.invalid(f"X has {x.rank} axes, expected (N, C, D1, ...)")
    return build.emit("reduce", x, kind=kind, axes=list(range(2, x.rank)), keepdims=True)
