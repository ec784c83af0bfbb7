"""Functions that CPython calls directly: arguments that do not fit, and what becomes of the interpreter's lock."""

from __future__ import annotations

import ctypes
import math
import os
import threading

import numpy as np
import pytest
from slowness import within

from fastgru.engine import Executable
from fastgru.engine.program import CallFrame, Program
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.kernels.registry import callable_kernel
from fastgru.kernels.run import MISFIT, calls, team_caller, worker
from fastgru.kernels.table import find
from fastgru.simd.compiler import compile_object, compile_python
from fastgru.simd.native import load_object, python_function


def made(function, kinds):
    name = f"test_{function.__name__}"
    return python_function(load_object(compile_python(function, kinds, name, keep_gil=False), name), name)


def difference(a, b):
    return a - b


def test_integers_of_every_size_go_in_and_out():
    subtract = made(difference, "ii")
    assert subtract(3, 5) == -2
    assert subtract(-1, 0) == -1  # also what CPython answers for an error
    assert subtract(True, np.int64(2)) == -1
    assert subtract(2**63 - 1, 0) == 2**63 - 1
    assert subtract(-(2**63), 0) == -(2**63)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((), TypeError, "takes 2 positional arguments"),
        ((1,), TypeError, "takes 2 positional arguments"),
        ((1, 2, 3), TypeError, "takes 2 positional arguments"),
        (("1", 2), TypeError, "int"),
        ((1, 2.5), TypeError, "int"),
        ((None, None), TypeError, "int"),
        ((2**63, 0), OverflowError, "int"),
    ],
)
def test_other_arguments_are_refused(arguments, error, match):
    subtract = made(difference, "ii")
    with pytest.raises(error, match=match):
        subtract(*arguments)
    with pytest.raises(TypeError, match="keyword"):
        subtract(a=1, b=2)
    assert subtract(1, 1) == 0


@pytest.mark.parametrize(
    "entry", [lambda: calls().alone, lambda: calls().take, lambda: calls().put, team_caller, worker]
)
def test_the_entries_refuse_what_is_no_address(entry):
    with pytest.raises(TypeError):
        entry()()
    with pytest.raises(TypeError):
        entry()("words", "bases", "more", "things")


def double() -> Program:
    graph = Graph(
        (TensorSpec("x", "float32", (4,)),),
        (TensorSpec("y", "float32", (4,)),),
        (Node("binary", ("x", "x"), ("y",), {"kind": "add"}),),
    )
    return Executable(graph).program({"x": (4,)})


def test_objects_that_are_no_arrays_are_not_touched():
    frame, x, y = CallFrame(double()), np.ones(4, np.float32), np.zeros(4, np.float32)
    wrong = [
        None,
        5,
        "text",
        [0.0] * 4,
        x.astype(np.float64),
        x[:3],
        np.ones(8, np.float32)[::2],
        np.ones((4, 1), "f4"),
    ]
    for other in wrong:
        assert frame.call(frame.ticket, (other,), y) == MISFIT
        assert frame.call(frame.ticket, (x,), other) == MISFIT
        assert frame.call(frame.ticket, (x,), (other,)) == MISFIT
        assert frame.call(frame.ticket, other, y) == MISFIT
    frozen = np.zeros(4, np.float32)
    frozen.flags.writeable = False
    for inputs, outputs in (((x, x), y), ((), y), ((x,), (y, y)), ((x,), ()), ((x,), frozen), ((x,), x)):
        assert frame.call(frame.ticket, inputs, outputs) == MISFIT
    assert not y.any()
    for outputs in (y, (y,)):
        y[:] = 0
        assert frame.call(frame.ticket, (x,), outputs) == 0
        np.testing.assert_array_equal(y, 2 * x)


def test_others_run_while_a_worker_sleeps():
    """A worker sleeps on a lock: only without the interpreter's lock can this thread end it."""
    control, words = np.zeros(64, np.int64), np.zeros(16, np.int64)
    allocate, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
    release = ctypes.pythonapi.PyThread_release_lock
    allocate.restype, acquire.argtypes, release.argtypes = (
        ctypes.c_void_p,
        (ctypes.c_void_p, ctypes.c_int),
        (ctypes.c_void_p,),
    )
    asleep = allocate()
    acquire(asleep, 1)
    thread = threading.Thread(target=worker(), args=(control.ctypes.data, words.ctypes.data, asleep), daemon=True)
    thread.start()
    thread.join(timeout=0.05)
    assert thread.is_alive()
    release(asleep)
    thread.join(timeout=within(30))
    assert not thread.is_alive()


def test_code_that_needs_numbas_runtime_is_refused():
    from numba.core import types
    from numba.core.errors import NumbaError

    from fastgru.errors import FastGRUError

    def calls(x):
        return math.gamma(x)

    def allocates(n):
        return np.zeros(n).sum()

    with pytest.raises(FastGRUError, match="Numba's runtime"):
        compile_object(calls, (types.float64,), types.float64, "test_calls")
    with pytest.raises(NumbaError):
        compile_object(allocates, (types.int64,), types.float64, "test_allocates")


def test_kernels_that_python_calls_use_those_that_it_does_not():
    from fastgru.kernels.gemm import panel_width

    @callable_kernel
    def width(left):
        return panel_width(left)

    assert find("gemm_panel", "float32").address  # which has panel_width compiled for itself
    assert [width(left) for left in (1, 2, 3, 4, 9)] == [1, 2, 2, 4, 4]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_loads_and_runs_native_code():
    subtract = made(difference, "ii")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if subtract(5, 3) == 2 and find("unary", "int64").address else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
