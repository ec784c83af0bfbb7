"""LLVM's linker and its knowledge of the CPU, through the C functions of llvmlite's library.

llvmlite's own modules are needed only to compile, and take longer to import than everything that a start needs of LLVM.
When they are imported, they call the same library under a lock, which this module takes as well.
"""

import contextlib
import ctypes
import functools
import os
import sys
from typing import Any, Final

import llvmlite
from llvmlite.utils import get_library_name

from fastgru.process import wait_at_forks

__all__ = ["alone", "host_cpu_features", "host_cpu_name", "link", "make_linker", "may_be_disturbed"]

_OBJECT: Final = 2  # kinds of elements that are linked: an object, and another library; "" is the process
_LIBRARY: Final = 3


class _Element(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_uint8), ("value", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Symbol(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("address", ctypes.c_uint64))


@functools.cache
def _library() -> Any:
    path = os.path.join(os.path.dirname(llvmlite.__file__), "binding", get_library_name())
    try:
        library = ctypes.CDLL(path)
    except OSError:  # the library lies elsewhere; llvmlite itself may find it
        from llvmlite.binding import ffi

        library = ctypes.CDLL(ffi.lib._name)
    text = ctypes.POINTER(ctypes.c_void_p)
    library.LLVMPY_GetHostCPUFeatures.argtypes = library.LLVMPY_GetHostCPUName.argtypes = (text,)
    library.LLVMPY_DisposeString.argtypes = (ctypes.c_void_p,)
    library.LLVMPY_CreateLLJITCompiler.argtypes = (ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool, text)
    library.LLVMPY_CreateLLJITCompiler.restype = library.LLVMPY_LLJIT_Link.restype = ctypes.c_void_p
    symbols = (ctypes.POINTER(_Symbol), ctypes.c_size_t)
    library.LLVMPY_LLJIT_Link.argtypes = (
        ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(_Element), ctypes.c_size_t, *symbols, *symbols, text,
    )  # fmt: skip
    return library


@functools.cache
def _register(lock: Any) -> None:
    wait_at_forks(lock)


def alone() -> Any:
    """Return a context in which no module of llvmlite calls the library."""
    ffi = sys.modules.get("llvmlite.binding.ffi")
    held = getattr(getattr(ffi, "lib", None), "_lock", None)
    if held is None:
        return contextlib.nullcontext()
    _register(held._lock)  # a thread that frees an object of llvmlite holds the lock while other threads run
    return held


def may_be_disturbed() -> bool:
    """Return whether a signal handler may raise while this module calls the library.

    It may not if llvmlite is imported: its lock would then stay locked.
    """
    return "llvmlite.binding.ffi" not in sys.modules


def _text(call: Any, *arguments: Any) -> tuple[Any, str]:
    """Call a function, and return its result and the text that it leaves in its last argument."""
    left = ctypes.c_void_p()
    with alone():
        result = call(*arguments, ctypes.byref(left))
        text = ctypes.string_at(left.value).decode(errors="replace") if left.value else ""
        if left.value:
            _library().LLVMPY_DisposeString(left)
    return result, text


def host_cpu_features() -> dict[str, bool]:
    """Return the features of the CPU that the operating system lets programs use."""
    _, text = _text(_library().LLVMPY_GetHostCPUFeatures)
    return {name[1:]: name.startswith("+") for name in text.split(",") if name}


def host_cpu_name() -> str:
    """Return LLVM's name of the CPU."""
    return _text(_library().LLVMPY_GetHostCPUName)[1]


def make_linker(*, jit_link: bool) -> int:
    """Return the address of a linker for this process. Raises `RuntimeError`."""
    with alone():
        _library().LLVMPY_InitializeNativeTarget()
        _library().LLVMPY_InitializeNativeAsmPrinter()
    linker, fault = _text(_library().LLVMPY_CreateLLJITCompiler, None, False, jit_link)
    if not linker:
        raise RuntimeError(fault)
    return int(linker)


def link(linker: int, name: str, code: bytes, symbol: str) -> int:
    """Link an object for the life of the process, and return the address of a symbol.

    Raises `RuntimeError` if a name is missing, or if `code` is not an object.
    """
    elements = (_Element * 2)(_Element(_OBJECT, code, len(code)), _Element(_LIBRARY, b"", 0))
    exports = (_Symbol * 1)(_Symbol(symbol.encode(), 0))
    call = _library().LLVMPY_LLJIT_Link
    tracker, fault = _text(call, linker, name.encode(), elements, 2, (_Symbol * 0)(), 0, exports, 1)
    if not tracker:
        raise RuntimeError(fault)
    return int(exports[0].address)
