"""The information of onnxruntime's interface about this package, and process settings that have no effect here."""

import platform
import sys
from typing import Any, Final

from fastgru.compat.onnxruntime.devices import OrtArenaCfg, OrtMemoryInfo
from fastgru.compat.onnxruntime.options import SessionOptions
from fastgru.compat.onnxruntime.providers import PROVIDERS

__all__ = [
    "VERSION",
    "create_and_register_allocator",
    "create_and_register_allocator_v2",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_default_session_options",
    "get_device",
    "get_version_string",
    "has_collective_ops",
    "preload_dlls",
    "print_debug_info",
    "set_global_thread_pool_sizes",
    "set_seed",
]

# The release whose interface this package follows. The local part says that this is not onnxruntime.
VERSION: Final = "1.32.0+fastgru"


def get_version_string() -> str:
    """Return the release of onnxruntime whose interface this package follows."""
    return VERSION


def get_build_info() -> str:
    """Return one line, which says that this is fastgru, and on which Python it runs."""
    return f"ORT Build Info: fastgru, interface={VERSION}, python={platform.python_version()}, build type=Release"


def print_debug_info() -> None:
    """Print the result of `get_build_info`, and the platform. `fastgru doctor` prints more."""
    sys.stdout.write(f"{get_build_info()}\n{platform.platform()}\n")


def get_available_providers() -> list[str]:
    """Return ["CPUExecutionProvider"]."""
    return list(PROVIDERS)


def get_all_providers() -> list[str]:
    """Return ["CPUExecutionProvider"]."""
    return list(PROVIDERS)


def get_device() -> str:
    """Return "CPU"."""
    return "CPU"


def has_collective_ops() -> bool:
    """Return False: a model runs in one process."""
    return False


def get_default_session_options() -> SessionOptions:
    """Return new session options."""
    return SessionOptions()


def set_seed(seed: int) -> None:
    """Do nothing: no operator here draws random numbers."""


def set_global_thread_pool_sizes(intra_op_num_threads: int = 0, inter_op_num_threads: int = 0) -> None:
    """Do nothing: each session has its own threads."""


def create_and_register_allocator(memory_info: OrtMemoryInfo, arena_cfg: OrtArenaCfg | None = None) -> None:
    """Check the arguments and do nothing: a session keeps its memory from call to call without an allocator."""
    _check_memory(memory_info, arena_cfg)


def create_and_register_allocator_v2(
    provider: str, memory_info: OrtMemoryInfo, options: dict[str, str], arena_cfg: OrtArenaCfg | None = None
) -> None:
    """Check the arguments and do nothing, as `create_and_register_allocator`."""
    _check_memory(memory_info, arena_cfg)


def _check_memory(memory_info: Any, arena_cfg: Any) -> None:
    if not isinstance(memory_info, OrtMemoryInfo):
        raise TypeError(f"expected an OrtMemoryInfo, got {type(memory_info).__name__}")
    if arena_cfg is not None and not isinstance(arena_cfg, OrtArenaCfg):
        raise TypeError(f"expected an OrtArenaCfg or None, got {type(arena_cfg).__name__}")


def preload_dlls(cuda: bool = True, cudnn: bool = True, msvc: bool = True, directory: str | None = None) -> None:
    """Do nothing: no library of a device is used."""


def disable_telemetry_events() -> None:
    """Do nothing: nothing is sent."""


def enable_telemetry_events() -> None:
    """Do nothing: nothing is sent."""
