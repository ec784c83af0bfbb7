"""Permission to use AMX, which Linux grants to a process that asks, including its threads and forked children.

Linux writes larger signal frames for a thread that has used tiles. It refuses permission if a thread has an alternate
signal stack that is too small for them. That of Python's faulthandler is large enough.
"""

import ctypes
import errno
import functools
import os
import platform
import sys
from typing import Final

__all__ = ["why_no_tiles"]

_ARCH_PRCTL: Final = 158  # the number of the system call on x86-64
_ARCH_GET_XCOMP_PERM: Final = 0x1022
_ARCH_REQ_XCOMP_PERM: Final = 0x1023
_TILE_DATA: Final = 18  # the number of the state component

_REASONS: Final = {
    errno.EINVAL: "its kernel does not know how, which Linux does from 5.16 on",
    errno.ENOSPC: "a thread has an alternate signal stack that is too small for AMX's registers",
}


@functools.cache
def why_no_tiles() -> str:
    """Say why the operating system does not let this process use AMX's tiles; "" if it does. The first call asks it."""
    reason = _refusal()
    return f"the operating system does not let this process use AMX: {reason}" if reason else ""


def _refusal() -> str:
    if sys.platform != "linux" or platform.machine().lower() not in ("x86_64", "amd64"):
        return "leave is asked for on Linux and x86-64 only"
    granted = ctypes.c_uint64(0)
    failed = _call(_ARCH_REQ_XCOMP_PERM, ctypes.c_ulong(_TILE_DATA)) or _call(
        _ARCH_GET_XCOMP_PERM, ctypes.byref(granted)
    )
    if failed:
        return _REASONS.get(failed, os.strerror(failed))
    return "" if granted.value >> _TILE_DATA & 1 else "it was not granted"


def _call(what: int, argument: object) -> int:
    """Call arch_prctl, and return the error number, 0 if there was none."""
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    answer = library.syscall(ctypes.c_long(_ARCH_PRCTL), ctypes.c_long(what), argument)
    return ctypes.get_errno() if answer else 0
