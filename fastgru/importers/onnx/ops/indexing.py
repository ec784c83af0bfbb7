"""Operators that split, slice, index, join or pad tensors."""

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator, same

__all__ = ["positions"]


def positions(value: Value | None, build: OnnxGraphBuilder) -> Value | None:
    """Cast positions to int64, because ONNX also allows int32."""
    return value if value is None or value.dtype in (None, "int64") else build.emit("cast", value, to="int64")


@operator("Concat", versions=(4, 11, 13), inputs=(1, None))
def _concat(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    axis = node.attrs.integer("axis")
    values = [node.input(i) for i in range(len(node.inputs))]
    return values[0] if len(values) == 1 else build.emit("concat", *values, axis=axis)


@operator("Split", versions=(2, 11, 13, 18), inputs=(1, 2), outputs=None, sizes=(1,))
def _split(node: OnnxNode, build: OnnxGraphBuilder) -> tuple[Value, ...]:
    x = node.input(0)
    axis = node.attrs.integer("axis", 0)
    parts = len(node.outputs)
    given = node.optional(1) if node.version >= 13 else None
    if given is not None and "num_outputs" in node.attrs:
        raise node.invalid("it has both split and num_outputs, expected only one of the two")
    if given is not None and given.array is None:
        # Sizes that follow from shapes are checked against the axis later, when they are known.
        return build.emit_all("split", [x, positions(given, build)], parts, {"axis": axis})
    sizes = node.constant_integers(1, "split") if node.version >= 13 else node.attrs.integers("split")
    if sizes is not None:
        if len(sizes) != parts:
            raise node.invalid(f"split is {sizes}, which does not fit {parts} outputs")
        return build.emit_all("split", [x], parts, {"axis": axis, "sizes": sizes})
    if node.version >= 18 and node.attrs.integer("num_outputs", parts) != parts:
        raise node.invalid(f"num_outputs is {node.attrs.integer('num_outputs')}, but the node has {parts} outputs")
    return build.emit_all("split", [x], parts, {"axis": axis, "parts": parts})


@operator("Slice", versions=(1, 10, 11, 13), inputs=(1, 5), sizes=(1, 2, 3, 4))
def _slice(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x = node.input(0)
    if node.version >= 10:
        node.input(1), node.input(2)
        return build.emit("slice", x, *(positions(node.optional(i), build) for i in range(1, 5)))
    starts, ends, axes = (node.attrs.integers(name) for name in ("starts", "ends", "axes"))
    if starts is None or ends is None:
        raise node.invalid("attribute 'starts' or 'ends' is missing")
    return build.emit(
        "slice", x, build.integers(starts), build.integers(ends), None if axes is None else build.integers(axes)
    )


# Gather is not an embedding even if the table is constant: in ONNX a negative index counts from the end.
operator("Gather", versions=(1, 11, 13), inputs=(2, 2))(same("gather", {"axis": 0}))
operator("GatherElements", versions=(11, 13), inputs=(2, 2))(same("gather_elements", {"axis": 0}))
operator("Tile", versions=(6, 13), inputs=(2, 2), sizes=(1,))(same("tile"))


@operator("Pad", versions=(2, 11, 13, 18, 19, 21, 23, 24, 25), inputs=(1, 4), constants={3: "axes"}, sizes=(1,))
def _pad(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x = node.input(0)
    mode = node.attrs.choice("mode", ("constant", "edge", "reflect", "wrap"), "constant")
    if mode == "wrap" and node.version < 19:
        raise node.unsupported(
            "attribute 'mode' is 'wrap', which exists from opset 19 on", "export with opset 19 or later"
        )
    if node.version >= 11:
        axes = node.constant_integers(3, "axes")
        attrs = {"mode": mode} if axes is None else {"mode": mode, "axes": axes}
        return build.emit("pad", x, node.input(1), node.optional(2), **attrs)
    pads = node.attrs.integers("pads")
    if pads is None:
        raise node.invalid("attribute 'pads' is missing")
    value = build.scalar(node.attrs.number("value", 0.0), x)
    return build.emit("pad", x, build.integers(pads), value if mode == "constant" else None, mode=mode)
