"""The greatest or least elements along an axis."""

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator


@operator("TopK", versions=(1, 10, 11, 24), inputs=(1, 2), outputs=2, sizes=(1,))
def _topk(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    """Emit a sorted result even if `sorted` is 0: ONNX leaves the order undefined then."""
    x = node.input(0)
    k = build.integers([node.attrs.integer("k")]) if node.version < 10 else node.input(1)
    largest = node.attrs.flag("largest", True) if node.version >= 11 else True
    if node.version >= 11:
        node.attrs.flag("sorted", True)
    return build.emit_all("topk", [x, k], 2, {"axis": node.attrs.integer("axis", -1), "largest": largest})
