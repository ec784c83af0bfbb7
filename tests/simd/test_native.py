"""Functions that CPython calls directly: arguments that do not fit, and what becomes of the interpreter's lock."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from fastgru.kernels.registry import callable_kernel
from fastgru.kernels.run import apart, pusher, putter, runner, worker
from fastgru.kernels.table import STATUS, STATUS_WORDS, find
from fastgru.simd.compiler import compile_object, compile_python
from fastgru.simd.native import load_object, python_function
from fastgru.simd.ndarray import WRITEABLE, expectation


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


@pytest.mark.parametrize("entry", [runner, worker, apart, pusher, putter])
def test_the_entries_refuse_what_is_no_address(entry):
    with pytest.raises(TypeError):
        entry()()
    with pytest.raises(TypeError):
        entry()("words", "bases", "more", "things")


def test_objects_that_are_no_arrays_are_not_touched():
    array, bases = np.zeros(4, np.float32), np.zeros(3, np.int64)
    expected = expectation(array, WRITEABLE)
    put, at = putter(), (bases.ctypes.data, 1, expected.ctypes.data)
    for wrong in (None, 5, "text", [0.0] * 4, array.astype(np.float64), array[:3], array[::2], bases):
        assert put(*at, wrong) == 0
    assert not bases.any()
    assert put(*at, array) == 1
    assert bases.tolist() == [0, array.ctypes.data, 0]


def test_others_run_while_a_program_does():
    """The worker's loop sleeps in a read: only without the interpreter's lock can this thread end it."""
    source, target = os.pipe()
    control, team = np.zeros(64, np.int64), np.zeros(16, np.int64)
    thread = threading.Thread(target=worker(), args=(control.ctypes.data, team.ctypes.data, source), daemon=True)
    thread.start()
    os.write(target, bytes(8))
    thread.join(timeout=30)
    assert not thread.is_alive()
    os.close(source)
    os.close(target)


def test_an_empty_program_runs():
    status, words = np.zeros(STATUS_WORDS + 8, np.int64), np.zeros(1, np.int64)
    status[STATUS_WORDS + 1] = 1
    bases = np.zeros(4, np.int64)
    bases[STATUS] = status.ctypes.data
    run = runner()
    assert run(words.ctypes.data, bases.ctypes.data) == 0


def test_code_that_needs_numbas_runtime_is_refused():
    from numba.core import types

    from fastgru.errors import FastGRUError

    def allocates(n):
        return np.zeros(n).sum()

    with pytest.raises(FastGRUError, match="Numba's runtime"):
        compile_object(allocates, (types.int64,), types.float64, "test_allocates")


def test_kernels_that_python_calls_use_those_that_it_does_not():
    from fastgru.kernels.product import panel_width

    @callable_kernel
    def width(left):
        return panel_width(left)

    assert find("product_panel", "float32").address  # which has panel_width compiled as a piece
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
