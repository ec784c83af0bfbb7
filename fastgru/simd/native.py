"""Loading object code into this process with LLVM's linker, without Numba."""

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
_definitions: list[Any] = to_the_end([])  # the function objects point to them

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
    """Return LLVM's machine of a target, which need not be this one; under `FASTGRU_TUNE=native` that of this CPU."""
    import llvmlite.binding

    llvmlite.binding.initialize_all_targets()
    llvmlite.binding.initialize_all_asmprinters()
    name, features = host_cpu() if TUNED else target.llvm_cpu
    machine = llvmlite.binding.Target.from_triple(target.triple)
    return machine.create_target_machine(cpu=name, features=features, opt=3, reloc="pic", codemodel="small", jit=True)


@functools.cache
def _linker() -> int:
    """Return the process's linker, one of LLVM's two.

    Code is position-independent and reaches distant symbols, as in libm and Python, through tables beside it. JITLink
    makes these tables on every architecture, and puts the sections of an object next to each other. The older linker
    may put them anywhere, and ends the process if two that refer to each other are more than 4 GiB apart, as happens on
    Arm. llvmlite offers JITLink on every system but Windows. Linking an object takes 0.2 ms with either, and no thread.
    Raises `FastGRUError` if this machine cannot run the target.
    """
    if not TUNED and (why := why_not_runnable(TARGET)):
        raise FastGRUError(f"FASTGRU_TARGET is {TARGET.name}, which cannot run here: {why}")
    return llvm.make_linker(jit_link=os.name != "nt")


def load_object(code: bytes, symbol: str) -> int:
    """Load object code, and return the address of a symbol. It may refer to symbols of the process: libm, Python.

    Raises `RuntimeError` if a symbol is missing, or if the code is not an object of this system.
    """
    return llvm.link(_linker(), f"fastgru{next(_numbers)}", code, symbol)


def python_function(address: int, name: str) -> Callable[..., int]:
    """Return a Python function for the C function at an address, which `compiler.compile_python` has made."""
    definition = _MethodDefinition(name.encode(), address, _METH_FASTCALL, None)
    _definitions.append(definition)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.py_object
    function: Callable[..., int] = make(ctypes.addressof(definition), None, None)
    return function
