"""Resampling."""

from typing import Any

from fastgru.exporters.onnx.writer import OnnxWriter, exporter
from fastgru.graph import Node


@exporter("resize")
def _resize(node: Node, write: OnnxWriter) -> None:
    """Write a Resize. Its `scales` are float32 in ONNX, in any precision of the model."""
    x, roi, scales, sizes = (*node.inputs, "", "", "")[:4]
    attrs: dict[str, Any] = {
        "mode": node.attrs["mode"],
        "coordinate_transformation_mode": node.attrs["coordinates"],
        "nearest_mode": node.attrs.get("nearest", "round_prefer_floor"),
        "cubic_coeff_a": float(node.attrs.get("cubic", -0.75)),
        "exclude_outside": int(node.attrs.get("exclude_outside", False)),
        "antialias": int(node.attrs.get("antialias", False)),
        "extrapolation_value": float(node.attrs.get("outside", 0.0)),
    }
    axes = node.attrs.get("axes")
    attrs["axes"] = None if axes is None else list(axes)
    if sizes:
        attrs["keep_aspect_ratio_policy"] = node.attrs.get("policy", "stretch")
    if scales and write.precision != "float32":
        scales = write.emit("Cast", scales, to=1)  # TensorProto.FLOAT
    write.emit("Resize", x, roi, scales, sizes, out=node.outputs[0], **attrs)
