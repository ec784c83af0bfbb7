"""What an ONNX file says of its inputs, its outputs and of itself."""

from collections.abc import Mapping
from typing import Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.graph import TensorSpec
from fastgru.graphbuilder import MAX_RANK, Value
from fastgru.importers.onnx.proto import ModelProto, ValueInfoProto
from fastgru.importers.onnx.tensors import dtype_name

__all__ = ["meta", "output_spec", "tensor_spec"]

_SHOWN_TEXT: Final = 500


def tensor_spec(info: ValueInfoProto) -> TensorSpec:
    """As the file declares it, which must be a dense tensor."""
    what = f"value {info.name!r}"
    if not info.type.HasField("tensor_type"):
        came = info.type.WhichOneof("value") or "no type"
        raise UnsupportedModelError(f"{what}: {came} is not implemented; inputs and outputs must be dense tensors")
    tensor = info.type.tensor_type
    dtype = dtype_name(tensor.elem_type, what)
    if not tensor.HasField("shape"):
        return TensorSpec(info.name, dtype, None)
    shape: list[int | None] = []
    dims: list[str | None] = []
    for dim in tensor.shape.dim:
        fixed = dim.HasField("dim_value")
        if fixed and dim.dim_value < 0:
            raise InvalidModelError(f"{what}: an axis of size {dim.dim_value}")
        shape.append(int(dim.dim_value) if fixed else None)
        dims.append(dim.dim_param or None)
    if len(shape) > MAX_RANK:
        raise InvalidModelError(f"{what}: {len(shape)} axes, expected at most {MAX_RANK}")
    return TensorSpec(info.name, dtype, tuple(shape), tuple(dims) if any(dims) else ())


def output_spec(info: ValueInfoProto, value: Value) -> TensorSpec:
    """As the file declares it, or as far as it is known where the file says nothing or is silent on the shape."""
    if not info.type.WhichOneof("value"):
        if value.dtype is None:
            raise InvalidModelError(f"output {info.name!r}: its element type cannot be told from the file")
        return value.spec(info.name, ())
    spec = tensor_spec(info)
    if value.dtype is not None and value.dtype != spec.dtype:
        raise InvalidModelError(f"output {info.name!r}: declared as {spec.dtype}, computed as {value.dtype}")
    if spec.shape is not None and value.rank is not None and len(spec.shape) != value.rank:
        raise InvalidModelError(
            f"output {info.name!r}: declared with {len(spec.shape)} axes, computed with {value.rank}"
        )
    return spec


def meta(model: ModelProto, opsets: Mapping[str, int]) -> dict[str, str]:
    """What a graph tells of the file that it was read from."""
    texts = {
        "format": "onnx",
        "ir_version": str(model.ir_version),
        "opset": ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(opsets.items())),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "domain": model.domain,
        "description": model.doc_string,
    }
    texts |= {f"metadata.{entry.key}": entry.value for entry in model.metadata_props}
    return {key: text[:_SHOWN_TEXT] for key, text in texts.items() if text}
