"""The interface of onnxruntime: a program written for onnxruntime runs after a change of its import.

    import fastgru.compat.onnxruntime as ort
    session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"x": x})

Options that cannot change a result are accepted. Options that would change one and are not implemented are refused by
name.
"""

from fastgru.compat.onnxruntime.about import VERSION as __version__
from fastgru.compat.onnxruntime.about import (
    create_and_register_allocator,
    create_and_register_allocator_v2,
    disable_telemetry_events,
    enable_telemetry_events,
    get_all_providers,
    get_available_providers,
    get_build_info,
    get_device,
    get_version_string,
    has_collective_ops,
    preload_dlls,
    print_debug_info,
    set_global_thread_pool_sizes,
    set_seed,
)
from fastgru.compat.onnxruntime.binding import IOBinding
from fastgru.compat.onnxruntime.capi import onnxruntime_pybind11_state, onnxruntime_validation
from fastgru.compat.onnxruntime.capi.build_and_package_info import package_name
from fastgru.compat.onnxruntime.describe import (
    ModelMetadata,
    NodeArg,
)
from fastgru.compat.onnxruntime.devices import (
    OrtAllocatorType,
    OrtArenaCfg,
    OrtDevice,
    OrtDeviceMemoryType,
    OrtDeviceVendorId,
    OrtEpDevice,
    OrtHardwareDevice,
    OrtHardwareDeviceType,
    OrtMemoryInfo,
    OrtMemoryInfoDeviceType,
    OrtMemType,
    get_ep_devices,
)
from fastgru.compat.onnxruntime.logs import (
    set_default_logger_callback,
    set_default_logger_severity,
    set_default_logger_verbosity,
)
from fastgru.compat.onnxruntime.options import (
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    OrtExecutionProviderDevicePolicy,
    OrtSparseFormat,
    RunOptions,
    SessionOptions,
)
from fastgru.compat.onnxruntime.refused import attribute as __getattr__  # noqa: F401
from fastgru.compat.onnxruntime.session import InferenceSession
from fastgru.compat.onnxruntime.values import (
    OrtValue,
    copy_tensors,
)

version, cuda_version = __version__, ""

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtAllocatorType",
    "OrtArenaCfg",
    "OrtDevice",
    "OrtDeviceMemoryType",
    "OrtDeviceVendorId",
    "OrtEpDevice",
    "OrtExecutionProviderDevicePolicy",
    "OrtHardwareDevice",
    "OrtHardwareDeviceType",
    "OrtMemType",
    "OrtMemoryInfo",
    "OrtMemoryInfoDeviceType",
    "OrtSparseFormat",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "copy_tensors",
    "create_and_register_allocator",
    "create_and_register_allocator_v2",
    "cuda_version",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_ep_devices",
    "get_version_string",
    "has_collective_ops",
    "onnxruntime_pybind11_state",
    "onnxruntime_validation",
    "package_name",
    "preload_dlls",
    "print_debug_info",
    "set_default_logger_callback",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_global_thread_pool_sizes",
    "set_seed",
    "version",
]
