"""Specs and data of the tensors of an ONNX file. Dtype, dims and size are checked before memory is allocated."""

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.graph import TensorSpec
from fastgru.graphbuilder import MAX_RANK, Value
from fastgru.importers.onnx.external import ExternalData
from fastgru.importers.onnx.proto import TensorProto, ValueInfoProto
from fastgru.reference.operator import numpy_dtype

__all__ = ["dtype_name", "output_spec", "read_tensor", "tensor_spec"]


_NAMES: Final = {number: name for name, number in TensorProto.DataType.items()}
_DTYPES: Final[Mapping[int, str]] = {
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.BOOL: "bool",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.INT8: "int8",
    TensorProto.UINT16: "uint16",
    TensorProto.UINT8: "uint8",
}
# The fields that have the elements if raw_data is absent; the types not listed here are in int32_data, one per entry.
_FIELDS: Final = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}
_AS_BITS: Final = ("bfloat16", "float16")


def dtype_name(data_type: int, what: str) -> str:
    """Return the name in `graph.DTYPES` of an ONNX element type.

    Raises `UnsupportedModelError` for a type that is not implemented, `InvalidModelError` for one that does not exist.
    """
    if data_type in _DTYPES:
        return _DTYPES[data_type]
    came = _NAMES.get(data_type)
    if came is None or data_type == TensorProto.UNDEFINED:
        raise InvalidModelError(f"{what}: element type {data_type} does not exist")
    raise UnsupportedModelError(
        f"{what}: element type {came} is not implemented; expected one of {', '.join(sorted(_DTYPES.values()))}:"
        " convert the model to one of them"
    )


def tensor_spec(info: ValueInfoProto) -> TensorSpec:
    """Return the spec that the file declares for a value; the value must be a dense tensor."""
    what = f"value {info.name!r}"
    if not info.type.HasField("tensor_type"):
        came = info.type.WhichOneof("value") or "no type"
        raise UnsupportedModelError(f"{what}: {came} is not implemented; inputs and outputs must be dense tensors")
    tensor = info.type.tensor_type
    dtype = dtype_name(tensor.elem_type, what)
    if not tensor.HasField("shape"):
        return TensorSpec(info.name, dtype, None)
    # Old converters write a free axis as -1.
    fixed = [dim.HasField("dim_value") and dim.dim_value >= 0 for dim in tensor.shape.dim]
    shape = tuple(int(dim.dim_value) if has else None for dim, has in zip(tensor.shape.dim, fixed, strict=True))
    dims = tuple(dim.dim_param or None for dim in tensor.shape.dim)
    if len(shape) > MAX_RANK:
        raise InvalidModelError(f"{what}: got {len(shape)} axes, expected at most {MAX_RANK}")
    return TensorSpec(info.name, dtype, shape, dims if any(dims) else ())


def output_spec(info: ValueInfoProto, value: Value, warnings: list[str], dims: Collection[str] = ()) -> TensorSpec:
    """Return the spec of an output: as the file declares it, or as inferred if the file declares no type or no shape.

    dims: the names of free sizes that the inputs have. If the declared rank is not that of the value, the inferred spec
    is returned and a message is added to `warnings`.
    """
    if not info.type.WhichOneof("value"):
        if value.dtype is None:
            raise InvalidModelError(f"output {info.name!r}: its element type does not follow from the file")
        return value.spec(info.name, dims)
    spec = tensor_spec(info)
    if value.dtype is not None and value.dtype != spec.dtype:
        raise InvalidModelError(
            f"output {info.name!r}: the file declares {spec.dtype}, but its nodes compute {value.dtype}"
        )
    if spec.shape is None:
        return spec if value.dtype is None else value.spec(info.name, dims)
    if value.rank is not None and len(spec.shape) != value.rank:
        warnings.append(f"output {info.name!r} is declared with {len(spec.shape)} axes, and computed with {value.rank}")
        return value.spec(info.name, ())
    return spec


def read_tensor(proto: TensorProto, what: str, external: ExternalData) -> Array:
    """Return the array of `proto`; it is read-only if it is a view of the file's own bytes.

    Raises `InvalidModelError` if dims and data disagree, `UnsupportedModelError` for an element type that is not
    implemented.
    """
    dtype = dtype_name(proto.data_type, what)
    dims = tuple(int(d) for d in proto.dims)
    if any(d < 0 for d in dims) or len(dims) > MAX_RANK:
        raise InvalidModelError(f"{what}: dims are {dims[:MAX_RANK]}, expected at most {MAX_RANK} sizes of at least 0")
    if proto.HasField("segment"):
        raise UnsupportedModelError(
            f"{what}: the tensor is stored in segments, which is not implemented; save the model again"
        )
    count = math.prod(dims)
    itemsize = numpy_dtype(dtype).itemsize
    if proto.data_location == TensorProto.EXTERNAL:
        array = _from_bytes(external.read(proto, count * itemsize, what), dtype, count, what)
    elif proto.HasField("raw_data"):
        array = _from_bytes(proto.raw_data, dtype, count, what)
    else:
        array = _from_field(proto, dtype, count, what)
    return array.reshape(dims)


def _from_bytes(raw: Any, dtype: str, count: int, what: str) -> Array:
    given = memoryview(raw).nbytes
    expected = count * numpy_dtype(dtype).itemsize
    if given != expected:
        raise InvalidModelError(f"{what}: got {given} bytes of data, expected {expected} for its dims and type {dtype}")
    if dtype == "bool":
        return np.asarray(np.frombuffer(raw, np.uint8) != 0)
    kind = numpy_dtype(dtype)
    if kind.kind not in "fiu":  # bfloat16 has no byte order of its own
        return np.frombuffer(raw, np.dtype("<u2")).astype(np.uint16, copy=False).view(kind)
    return np.asarray(np.frombuffer(raw, kind.newbyteorder("<")).astype(kind, copy=False))


def _from_field(proto: TensorProto, dtype: str, count: int, what: str) -> Array:
    values = getattr(proto, _FIELDS.get(dtype, "int32_data"))
    if len(values) != count:
        raise InvalidModelError(f"{what}: got {len(values)} elements, expected {count} for its dims")
    if dtype in _FIELDS:
        return np.array(values, dtype=dtype)
    wide = np.array(values, dtype=np.int64)
    kind = np.dtype(np.uint16) if dtype in _AS_BITS else numpy_dtype(dtype)
    if dtype == "bool":
        return np.asarray(wide != 0)
    limits = np.iinfo(kind)
    if count and (wide.min() < limits.min or wide.max() > limits.max):
        raise InvalidModelError(f"{what}: int32_data from {wide.min()} to {wide.max()} does not fit {dtype}")
    narrow = wide.astype(kind)
    return narrow.view(numpy_dtype(dtype)) if dtype in _AS_BITS else narrow
