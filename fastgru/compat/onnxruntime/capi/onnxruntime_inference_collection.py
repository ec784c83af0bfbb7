"""Sessions, bindings and values, in the module where onnxruntime has them."""

from fastgru.compat.onnxruntime.binding import IOBinding
from fastgru.compat.onnxruntime.capi import _pybind_state as C
from fastgru.compat.onnxruntime.devices import (
    OrtDevice,
    OrtDeviceVendorId,
    get_ort_device_type,
    get_vendor_id_for_device_type,
)
from fastgru.compat.onnxruntime.providers import check_and_normalize_provider_args
from fastgru.compat.onnxruntime.refused import attribute as __getattr__
from fastgru.compat.onnxruntime.session import InferenceSession
from fastgru.compat.onnxruntime.values import (
    OrtValue,
    copy_tensors,
)

Session = InferenceSession

__all__ = [
    "C",
    "IOBinding",
    "InferenceSession",
    "OrtDevice",
    "OrtDeviceVendorId",
    "OrtValue",
    "Session",
    "check_and_normalize_provider_args",
    "copy_tensors",
    "get_ort_device_type",
    "get_vendor_id_for_device_type",
]
