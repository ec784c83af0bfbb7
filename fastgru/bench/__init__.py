"""Measures this package next to ONNX Runtime, OpenVINO and PyTorch, and next to the limits of the machine.

    result = run_suite(SUITES["quick"], threads=(1,), rivals=("onnxruntime",))

`cases` is the one table of what is measured; `problem` makes the weights, shared inputs and expected outputs of a case;
`contender` and `rivals` make contenders of a problem; `measure` compares their outputs, then times them in turns;
`bounds` tells how fast the machine could be; `result` holds the results, and `report` and `page` show them.
"""

import fastgru.simd  # noqa: F401  (before Numba, because it may have to tell Numba to build for a lesser CPU)
from fastgru.bench.cases import SUITES, Case
from fastgru.bench.result import Result, Row
from fastgru.bench.suite import run_suite

__all__ = ["SUITES", "Case", "Result", "Row", "run_suite"]
