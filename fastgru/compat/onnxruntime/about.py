"""What this package says of itself in onnxruntime's words, and settings of the process that change nothing here."""

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

# Of the release whose interface this follows; the local part says that this is not it.
VERSION: Final = "1.32.0+fastgru"


def get_version_string() -> str:
    """The release of onnxruntime whose interface this follows."""
    return VERSION


def get_build_info() -> str:
    """One line: that this is no build of onnxruntime, and what it runs on."""
    return f"ORT Build Info: fastgru, interface={VERSION}, python={platform.python_version()}, build type=Release"


def print_debug_info() -> None:
    """Print what `get_build_info` says; `fastgru doctor` says more."""
    sys.stdout.write(f"{get_build_info()}\n{platform.platform()}\n")


def get_available_providers() -> list[str]:
    """["CPUExecutionProvider"]."""
    return list(PROVIDERS)


def get_all_providers() -> list[str]:
    """["CPUExecutionProvider"]."""
    return list(PROVIDERS)


def get_device() -> str:
    """ "CPU"."""
    return "CPU"


def has_collective_ops() -> bool:
    """False: a model runs in one process."""
    return False


def get_default_session_options() -> SessionOptions:
    """New ones."""
    return SessionOptions()


def set_seed(seed: int) -> None:
    """Without effect: no operator here draws random numbers."""


def set_global_thread_pool_sizes(intra_op_num_threads: int = 0, inter_op_num_threads: int = 0) -> None:
    """Without effect: the threads of a session are its own."""


def create_and_register_allocator(memory_info: OrtMemoryInfo, arena_cfg: OrtArenaCfg | None = None) -> None:
    """Without effect: a session keeps its memory from call to call, whatever is registered."""
    _check_memory(memory_info, arena_cfg)


def create_and_register_allocator_v2(
    provider: str, memory_info: OrtMemoryInfo, options: dict[str, str], arena_cfg: OrtArenaCfg | None = None
) -> None:
    """Without effect, as above."""
    _check_memory(memory_info, arena_cfg)


def _check_memory(memory_info: Any, arena_cfg: Any) -> None:
    if not isinstance(memory_info, OrtMemoryInfo):
        raise TypeError(f"expected an OrtMemoryInfo, got {type(memory_info).__name__}")
    if arena_cfg is not None and not isinstance(arena_cfg, OrtArenaCfg):
        raise TypeError(f"expected an OrtArenaCfg or None, got {type(arena_cfg).__name__}")


def preload_dlls(cuda: bool = True, cudnn: bool = True, msvc: bool = True, directory: str | None = None) -> None:
    """Without effect: no library of a device is used."""


def disable_telemetry_events() -> None:
    """Without effect: nothing is sent."""


def enable_telemetry_events() -> None:
    """Without effect: nothing is sent."""
