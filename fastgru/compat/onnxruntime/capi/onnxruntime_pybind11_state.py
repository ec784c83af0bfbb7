"""onnxruntime's inner interface: exceptions, options and enumerations. Names that are not implemented raise errors."""

from fastgru.compat.onnxruntime.about import (
    create_and_register_allocator,
    create_and_register_allocator_v2,
    disable_telemetry_events,
    enable_telemetry_events,
    get_all_providers,
    get_available_providers,
    get_build_info,
    get_default_session_options,
    get_device,
    get_version_string,
    has_collective_ops,
    set_global_thread_pool_sizes,
    set_seed,
)
from fastgru.compat.onnxruntime.describe import (
    ModelMetadata,
    NodeArg,
)
from fastgru.compat.onnxruntime.devices import (
    ArenaExtendStrategy,
    OrtAllocatorType,
    OrtArenaCfg,
    OrtDevice,
    OrtDeviceMemoryType,
    OrtEpDevice,
    OrtHardwareDevice,
    OrtHardwareDeviceType,
    OrtMemoryInfo,
    OrtMemoryInfoDeviceType,
    OrtMemType,
    get_ep_devices,
    get_hardware_devices,
)
from fastgru.compat.onnxruntime.errors import (
    DeviceReset,
    EngineError,
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    ModelLoadCanceled,
    ModelLoaded,
    ModelRequiresCompilation,
    NoModel,
    NoSuchFile,
    NotFound,
    OrtNotImplemented,
    RuntimeException,
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
from fastgru.compat.onnxruntime.refused import attribute as __getattr__
from fastgru.compat.onnxruntime.session import InferenceSession
from fastgru.compat.onnxruntime.values import (
    OrtValue,
    OrtValueVector,
    copy_tensors,
)

NotImplemented = OrtNotImplemented  # noqa: A001  (onnxruntime's name)
kNextPowerOfTwo = ArenaExtendStrategy.kNextPowerOfTwo
kSameAsRequested = ArenaExtendStrategy.kSameAsRequested

# Only exceptions, for programs that catch all of them.
__all__ = [
    "DeviceReset",
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelLoadCanceled",
    "ModelLoaded",
    "ModelRequiresCompilation",
    "NoModel",
    "NoSuchFile",
    "NotFound",
    "NotImplemented",
    "RuntimeException",
]
