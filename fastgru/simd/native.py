"""Object code in this process: loaded by LLVM's linker, without Numba."""

import ctypes
import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

from fastgru.errors import FastGRUError
from fastgru.process import to_the_end
from fastgru.simd import llvm
from fastgru.simd.cpu import host_cpu
from fastgru.simd.target import TARGET, TUNED, Target, why_not_runnable

__all__ = ["load_object", "python_function", "target_machine"]

_numbers = itertools.count()
_definitions: list[Any] = to_the_end([])  # Python's functions point to them

_METH_FASTCALL = 0x0080


class _MethodDefinition(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@functools.cache
def target_machine(target: Target = TARGET) -> Any:
    """LLVM's machine of a target, whatever this one is; under `FASTGRU_TUNE=native` of the CPU at hand."""
    import llvmlite.binding

    llvmlite.binding.initialize_all_targets()
    llvmlite.binding.initialize_all_asmprinters()
    name, features = host_cpu() if TUNED else target.llvm_cpu
    machine = llvmlite.binding.Target.from_triple(target.triple)
    return machine.create_target_machine(cpu=name, features=features, opt=3, reloc="pic", codemodel="small", jit=True)


@functools.cache
def _linker() -> int:
    """One of LLVM's two linkers.

    Code is position-independent and reaches what is far, which libm and Python are, through tables beside it. JITLink
    makes these tables on every architecture, and puts the sections of an object next to each other. The older linker
    puts each anywhere, and ends the process where two that refer to each other come to lie more than 4 GiB apart, as
    happens on Arm. llvmlite offers JITLink on every system but Windows. An object takes 0.2 ms with either, and no
    thread. Raises `FastGRUError` where the target is not one that this machine runs.
    """
    if not TUNED and (why := why_not_runnable(TARGET)):
        raise FastGRUError(f"FASTGRU_TARGET is {TARGET.name}, which cannot run here: {why}")
    return llvm.make_linker(jit_link=os.name != "nt")


def load_object(code: bytes, symbol: str) -> int:
    """The address of a symbol of object code, whose other names are those of the process: libm, Python.

    Raises `RuntimeError` where something is missing or the code is no object of this system.
    """
    return llvm.link(_linker(), f"fastgru{next(_numbers)}", code, symbol)


def python_function(address: int, name: str) -> Callable[..., int]:
    """The C function at an address, as `compiler.compile_python` makes it, as a function of Python."""
    definition = _MethodDefinition(name.encode(), address, _METH_FASTCALL, None)
    _definitions.append(definition)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.py_object
    function: Callable[..., int] = make(ctypes.addressof(definition), None, None)
    return function
