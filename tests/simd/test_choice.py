"""Functions that native code chooses by a code."""

import math
import operator

from fastgru.kernels.registry import callable_kernel, kernel
from fastgru.simd.choice import make_choice

NUMBERS = make_choice({0: operator.sub, 2: kernel(lambda a, b: a * 10), 5: operator.floordiv})
FLOATS = make_choice({1: math.sqrt, 2: kernel(lambda x: x + 1)})


def test_the_function_of_a_code_is_called_and_the_last_one_where_there_is_none():
    @callable_kernel
    def chosen(code, a, b):
        return NUMBERS(code, a, b)

    assert [chosen(code, 17, 5) for code in (0, 2, 5, 3, -1)] == [12, 170, 3, 3, 3]


def test_functions_of_math_stand_beside_kernels():
    @callable_kernel
    def chosen(code, x):
        return FLOATS(code, x)

    assert [chosen(code, 9.0) for code in (1, 2)] == [3.0, 10.0]
