"""Resize in all its versions, and its predecessor Upsample."""

from typing import Any

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator


def _given(node: OnnxNode, index: int) -> Value | None:
    """Return the input, or None if it is absent or an empty constant, which means the same."""
    value = node.optional(index)
    return None if value is None or (value.array is not None and value.array.size == 0) else value


def _mode(node: OnnxNode) -> str:
    known = ("nearest", "linear", "cubic") if node.op == "Resize" and node.version >= 11 else ("nearest", "linear")
    return node.attrs.choice("mode", known, "nearest")


@operator("Resize", versions=(10, 11, 13, 18, 19), inputs=(1, 4), sizes=(1, 2, 3))
def _resize(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    x, mode = node.input(0), _mode(node)
    if node.version < 11:
        return _upsampled(x, node.input(1), mode, build)
    coordinates = node.attrs.string("coordinate_transformation_mode", "half_pixel")
    attrs: dict[str, Any] = {
        "mode": mode,
        "coordinates": coordinates,
        "nearest": node.attrs.string("nearest_mode", "round_prefer_floor"),
        "cubic": node.attrs.number("cubic_coeff_a", -0.75),
        "exclude_outside": node.attrs.flag("exclude_outside", False),
    }
    outside = node.attrs.number("extrapolation_value", 0.0)
    roi, scales, sizes = (_given(node, i) for i in (1, 2, 3))
    if coordinates == "tf_crop_and_resize":
        attrs["outside"] = outside
    else:
        roi = None
    if node.version >= 18:
        attrs["antialias"] = node.attrs.flag("antialias", False)
        policy = node.attrs.string("keep_aspect_ratio_policy", "stretch")
        if sizes is not None:
            attrs["policy"] = policy
        if (axes := node.attrs.integers("axes")) is not None:
            attrs["axes"] = axes
    if (scales is None) == (sizes is None):
        raise node.invalid("expected either scales or sizes, and not both")
    return build.emit("resize", x, roi, scales, sizes, **attrs)


@operator("Upsample", versions=(7, 9, 10), inputs=(1, 2), sizes=(1,))
def _upsample(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    if node.version >= 10:
        raise node.unsupported("Upsample ends with opset 9", "use Resize")
    x, mode = node.input(0), _mode(node)
    if node.version >= 9:
        return _upsampled(x, node.input(1), mode, build)
    scales = node.attrs.numbers("scales")
    if scales is None:
        raise node.invalid("attribute 'scales' is missing")
    return _upsampled(x, build.constant(scales, dtype="float32"), mode, build)


def _upsampled(x: Value, scales: Value, mode: str, build: OnnxGraphBuilder) -> Value:
    return build.emit("resize", x, None, scales, mode=mode, coordinates="asymmetric", nearest="floor")
