"""OrtValue and the names of element types: arrays in the memory of this process."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import numpy as np
from onnx import TensorProto, helper

from fastgru.arrays import Array
from fastgru.compat.onnxruntime.devices import OrtDevice, check_device
from fastgru.compat.onnxruntime.errors import InvalidArgument, RuntimeException
from fastgru.compat.onnxruntime.refused import refused
from fastgru.reference.operator import numpy_dtype

__all__ = ["OrtValue", "OrtValueVector", "array_at", "copy_tensors", "element_dtype", "type_name"]

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


def type_name(dtype: Any, what: str = "") -> str:
    """Return "tensor(float)" and the like. what: the beginning of the message for a dtype that no tensor has."""
    name = np.dtype(dtype).name if dtype != "bfloat16" else "bfloat16"
    if name not in _ELEMENTS:
        raise RuntimeException(f"{what}got an array of {name}, expected one of {', '.join(_ELEMENTS)}")
    return f"tensor({_ELEMENTS[name]})"


def element_dtype(element_type: Any) -> np.dtype[Any]:
    """Return the dtype for a NumPy type or a number of `onnx.TensorProto.DataType`."""
    if isinstance(element_type, int) and not isinstance(element_type, bool):
        try:
            found: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(element_type)
        except (KeyError, ValueError):
            raise RuntimeException(
                f"element type {element_type} is not a number of onnx.TensorProto.DataType"
            ) from None
        return found
    return numpy_dtype("bfloat16") if element_type == "bfloat16" else np.dtype(element_type)


def array_at(pointer: int, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """Return the caller's memory as an array. The memory must outlive the array."""
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes) or not pointer:
        raise InvalidArgument(
            f"cannot bind memory at address {pointer} with shape {list(sizes)}; expected an address other than 0, and"
            " sizes of at least 0"
        )
    room = (ctypes.c_char * (math.prod(sizes) * dtype.itemsize)).from_address(int(pointer))
    raw = np.frombuffer(memoryview(room).cast("B"), np.uint8)
    return raw.view(dtype).reshape(sizes)


class OrtValue:
    """A tensor, which shares the memory of its array. An array that is not contiguous is copied."""

    def __init__(self, array: Array) -> None:
        type_name(array.dtype)
        self._array = np.asarray(array, order="C")

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: Array, device_type: str | OrtDevice = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """Return a tensor that shares the memory of the array."""
        check_device(device_type, device_id)
        return cls(np.asarray(numpy_obj))

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, data: Array, /, onnx_element_type: int) -> OrtValue:
        """Return a tensor that shares the memory of the array, and reads its bytes as this type.

        onnx_element_type: a number of `onnx.TensorProto.DataType`, of a type with as many bytes for each element.
        """
        dtype, array = element_dtype(int(onnx_element_type)), np.asarray(data, order="C")
        if dtype.itemsize != array.dtype.itemsize:
            raise RuntimeException(
                f"got an array of {array.dtype} with {array.itemsize} bytes for each element, expected"
                f" {dtype.itemsize} for {dtype}"
            )
        return cls(array.view(dtype))

    @classmethod
    def ortvalue_from_shape_and_type(
        cls,
        shape: Sequence[int],
        element_type: Any,
        device_type: str | OrtDevice = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
    ) -> OrtValue:
        """Return a tensor of this shape and type, whose elements are not set."""
        check_device(device_type, device_id)
        sizes = tuple(shape)
        if any(size < 0 for size in sizes):
            raise RuntimeException(f"shape is {list(sizes)}, expected sizes of at least 0")
        return cls(np.empty(sizes, element_dtype(element_type)))

    ortvalue_from_shape_and_onnx_type = ortvalue_from_shape_and_type

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """Return a tensor that shares the memory of an object with `__dlpack__` on the CPU.

        A read-only array is accepted, too.
        """
        if not hasattr(data, "__dlpack__"):
            raise TypeError(f"from_dlpack: got {type(data).__name__}, expected an object with __dlpack__")
        if isinstance(data, OrtValue):
            return cls(data._array)
        return cls(data if isinstance(data, np.ndarray) else np.from_dlpack(data))

    @classmethod
    def ort_value_from_sparse_tensor(cls, sparse_tensor: Any) -> NoReturn:
        refused("SparseTensor")(sparse_tensor)
        raise AssertionError

    def as_sparse_tensor(self) -> NoReturn:
        refused("SparseTensor")()
        raise AssertionError

    def numpy(self) -> Array:
        """Return the array itself, not a copy."""
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if dtype is not None and np.dtype(dtype) != self._array.dtype:
            if copy is False:
                raise ValueError(f"an OrtValue of {self._array.dtype} cannot become {dtype} without a copy")
            return self._array.astype(dtype)
        return self._array.copy() if copy else self._array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    to_dlpack = __dlpack__

    def __dlpack_device__(self) -> tuple[int, int]:
        device, index = self._array.__dlpack_device__()
        return int(device), int(index)

    def shape(self) -> list[int]:
        """Return the shape as a list."""
        return list(self._array.shape)

    def data_type(self) -> str:
        """Return the type as a text such as "tensor(float)"."""
        return type_name(self._array.dtype)

    def element_type(self) -> int:
        """Return the number of the type in `onnx.TensorProto.DataType`."""
        if self._array.dtype.name == "bfloat16":
            return int(TensorProto.BFLOAT16)
        return int(helper.np_dtype_to_tensor_dtype(self._array.dtype))

    def device_name(self) -> str:
        """Return "cpu"."""
        return "cpu"

    def data_ptr(self) -> int:
        """Return the address of the first element."""
        return int(self._array.ctypes.data)

    def tensor_size_in_bytes(self) -> int:
        """Return the number of bytes of all elements."""
        return self._array.nbytes

    def has_value(self) -> bool:
        """Return True."""
        return True

    def is_tensor(self) -> bool:
        """Return True."""
        return True

    def is_sparse_tensor(self) -> bool:
        """Return False, because sparse tensors are not implemented."""
        return False

    def is_tensor_sequence(self) -> bool:
        """Return False, because sequences are not implemented."""
        return False

    def update_inplace(self, data: Array | OrtValue) -> None:
        """Copy the elements of `data`, which has the same size and dtype, into this tensor."""
        if not isinstance(data, OrtValue | np.ndarray):
            raise TypeError(f"update_inplace: got {type(data).__name__}, expected an array or an OrtValue")
        array = data.numpy() if isinstance(data, OrtValue) else data
        if array.size != self._array.size:
            raise RuntimeException("The input size of numpy arrays does not match the size of the OrtValue.")
        if array.dtype != self._array.dtype:
            raise RuntimeException(f"update_inplace: got {array.dtype}, expected {self._array.dtype}")
        self._array[...] = array.reshape(self._array.shape)

    def _get_c_value(self) -> OrtValue:
        """Return the value of onnxruntime's inner interface, which is this object itself."""
        return self

    @property
    def _ortvalue(self) -> OrtValue:
        return self


class OrtValueVector(list[OrtValue]):
    """The outputs of a run, in onnxruntime's inner interface."""

    def push_back(self, value: OrtValue) -> None:
        self.append(value)

    def reserve(self, size: int) -> None:
        """Do nothing: a list grows by itself."""

    def shrink_to_fit(self) -> None:
        """Do nothing."""

    def element_type_at(self, index: int) -> int:
        return self[index].element_type()

    def dlpack_at(self, index: int) -> Any:
        return self[index].__dlpack__()

    def to_dlpacks(self, to_tensor: Any = None) -> list[Any]:
        """Return the capsules, or the result of `to_tensor` for each."""
        return [value.__dlpack__() if to_tensor is None else to_tensor(value.__dlpack__()) for value in self]

    def push_back_batch(self, tensors: Any, data_ptrs: Any, element_types: Any, shapes: Any, devices: Any) -> None:
        """Append values that use the memory at `data_ptrs`. The memory must stay valid."""
        for pointer, kind, shape, device in zip(data_ptrs, element_types, shapes, devices, strict=True):
            check_device(device)
            self.append(OrtValue(array_at(pointer, element_dtype(kind), shape)))


def copy_tensors(src: Sequence[OrtValue], dst: Sequence[OrtValue], stream: Any = None) -> None:
    """Copy each value of `src` into that of `dst`. stream: None, because a copy has ended when the call returns."""
    if stream is not None:
        refused("OrtSyncStream")()
    if len(src) != len(dst):
        raise InvalidArgument(
            f"copy_tensors: got {len(src)} values in src and {len(dst)} in dst, expected equally many"
        )
    for source, target in zip(src, dst, strict=True):
        target.update_inplace(source)
