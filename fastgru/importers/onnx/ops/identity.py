"""Operators that return a tensor unchanged: a constant of the file, or their input."""

import numpy as np

from fastgru.graphbuilder import Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.registry import OnnxNode, operator

_REFUSED_FORMS = ("sparse_value", "value_string", "value_strings")


@operator(
    "Constant",
    versions=(1, 9, 11, 12, 13, 19, 21, 23, 24, 25),
    inputs=(0, 0),
    limits="no strings, no sparse tensor",
)
def _constant(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    for name in _REFUSED_FORMS:
        if name in node.attrs:
            raise node.unsupported(f"attribute {name!r} is not implemented", "store a dense tensor of numbers")
    forms = {
        "value": node.attrs.array("value"),
        "value_float": np.float32(node.attrs.number("value_float")) if "value_float" in node.attrs else None,
        "value_floats": _array(node.attrs.numbers("value_floats"), np.float32),
        "value_int": np.int64(node.attrs.integer("value_int")) if "value_int" in node.attrs else None,
        "value_ints": _array(node.attrs.integers("value_ints"), np.int64),
    }
    given = {name: value for name, value in forms.items() if value is not None}
    if len(given) != 1:
        raise node.invalid(f"it has the attributes {sorted(given)}, expected exactly one of {', '.join(sorted(forms))}")
    array = np.asarray(next(iter(given.values())))
    build.folding.grant(array.nbytes)
    return build.constant(array, build.node_name)


def _array(numbers: list[float] | list[int] | None, dtype: type[np.generic]) -> np.ndarray | None:
    return None if numbers is None else np.array(numbers, dtype=dtype)


@operator("Identity", versions=(1, 13, 14, 16, 19, 21, 23, 24, 25), inputs=(1, 1))
def _identity(node: OnnxNode, build: OnnxGraphBuilder) -> Value:
    return node.input(0)


@operator(
    "Dropout",
    versions=(7, 10, 12, 13, 22),
    inputs=(1, 3),
    outputs=2,
    constants={2: "training_mode"},
    limits="inference only; no mask before opset 12",
)
def _dropout(node: OnnxNode, build: OnnxGraphBuilder) -> Value | tuple[Value, ...]:
    """Return x itself and, if it is used, a mask that keeps everything."""
    x = node.input(0)
    node.attrs.number("ratio", 0.5)
    node.attrs.integer("seed", 0)
    training = node.optional(2)
    if training is not None and training.array is not None and training.array.any():
        raise node.unsupported("input training_mode is true", "export the model in inference mode: model.eval()")
    if not node.wants(1):
        return x
    if node.version < 12:
        raise node.unsupported("before opset 12 its output mask is not defined in inference", "remove the mask")
    return x, build.emit("constant_of_shape", build.emit("shape", x), value=1, dtype="bool")
