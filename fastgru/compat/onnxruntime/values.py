"""OrtValue and the names of element types: arrays in the memory of this process."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fastgru.compat.onnxruntime.errors import InvalidArgument, OrtNotImplemented, RuntimeException
from fastgru.reference.operator import numpy_dtype

__all__ = ["OrtValue", "array_at", "check_device", "element_dtype", "type_name"]

Array = NDArray[Any]

# Our name of a dtype -> ONNX Runtime's name of an element.
_ELEMENTS: Final = {
    "float64": "double",
    "float32": "float",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int64": "int64",
    "int32": "int32",
    "int16": "int16",
    "int8": "int8",
    "uint64": "uint64",
    "uint32": "uint32",
    "uint16": "uint16",
    "uint8": "uint8",
    "bool": "bool",
}


def type_name(dtype: Any) -> str:
    """ "tensor(float)" and the like."""
    name = np.dtype(dtype).name if dtype != "bfloat16" else "bfloat16"
    if name not in _ELEMENTS:
        raise InvalidArgument(f"arrays of {name} are no tensors that a model could take")
    return f"tensor({_ELEMENTS[name]})"


def element_dtype(element_type: Any) -> np.dtype[Any]:
    """The dtype that a NumPy type, or a number of `onnx.TensorProto.DataType`, stands for."""
    if isinstance(element_type, int) and not isinstance(element_type, bool):
        try:
            found: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(element_type)
        except (KeyError, ValueError):
            raise InvalidArgument(f"element type {element_type} is not one of ONNX's") from None
        return found
    return numpy_dtype("bfloat16") if element_type == "bfloat16" else np.dtype(element_type)


def check_device(device_type: str, device_id: int = 0) -> None:
    """There is the CPU, and one of it."""
    if str(device_type).lower() != "cpu" or device_id != 0:
        raise OrtNotImplemented(f"device {device_type!r} {device_id} is not there; there is 'cpu' 0")


def array_at(pointer: int, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """The caller's memory as an array; it must outlive the binding."""
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes) or not pointer:
        raise InvalidArgument(f"memory at {pointer} of shape {list(sizes)} cannot be bound")
    room = (ctypes.c_char * (math.prod(sizes) * dtype.itemsize)).from_address(int(pointer))
    raw: NDArray[np.uint8] = np.frombuffer(memoryview(room).cast("B"), np.uint8)
    return raw.view(dtype).reshape(sizes)


class OrtValue:
    """A tensor: an array, whose memory it shares where that is contiguous."""

    def __init__(self, array: Array) -> None:
        type_name(array.dtype)
        self._array = array if array.flags.c_contiguous else np.ascontiguousarray(array)

    @classmethod
    def ortvalue_from_numpy(cls, numpy_obj: Array, device_type: str = "cpu", device_id: int = 0) -> OrtValue:
        """Over the array's own memory."""
        check_device(device_type, device_id)
        return cls(np.asarray(numpy_obj))

    @classmethod
    def ortvalue_from_shape_and_type(
        cls, shape: Sequence[int], element_type: Any, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """Room that holds nothing in particular."""
        check_device(device_type, device_id)
        return cls(np.empty(tuple(shape), element_dtype(element_type)))

    def numpy(self) -> Array:
        """The array itself, no copy."""
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if dtype is not None and np.dtype(dtype) != self._array.dtype:
            return self._array.astype(dtype)
        return self._array.copy() if copy else self._array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        device, index = self._array.__dlpack_device__()
        return int(device), int(index)

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def data_type(self) -> str:
        return type_name(self._array.dtype)

    def element_type(self) -> int:
        """The number of the type in `onnx.TensorProto`."""
        if self._array.dtype.name == "bfloat16":
            return int(TensorProto.BFLOAT16)
        return int(helper.np_dtype_to_tensor_dtype(self._array.dtype))

    def device_name(self) -> str:
        return "cpu"

    def data_ptr(self) -> int:
        return int(self._array.ctypes.data)

    def tensor_size_in_bytes(self) -> int:
        return self._array.nbytes

    def has_value(self) -> bool:
        return True

    def is_tensor(self) -> bool:
        return True

    def is_sparse_tensor(self) -> bool:
        return False

    def is_tensor_sequence(self) -> bool:
        return False

    def update_inplace(self, data: Array) -> None:
        """Copy `data`, of the same size and dtype, over what is there."""
        array = np.asarray(data)
        if array.size != self._array.size:
            raise RuntimeException("The input size of numpy arrays does not match the size of the OrtValue.")
        if array.dtype != self._array.dtype:
            raise RuntimeException(f"update_inplace: got {array.dtype}, expected {self._array.dtype}")
        self._array[...] = array.reshape(self._array.shape)
