"""Measures this package next to ONNX Runtime, OpenVINO and PyTorch, and next to the limits of the machine.

    result = run_suite(SUITES["quick"], threads=(1,), rivals=("onnxruntime",))

`cases` is the one table of what is measured; `problem` makes weights, shared inputs and expected outputs of a case;
`contender` and `rivals` make contenders of a problem; `measure` compares their outputs, then times them in turn;
`bounds` says how fast the machine could be; `result` is what comes out, and `report` and `page` show it.
"""

import fastgru.simd  # noqa: F401  (before Numba, which may have to be told to build for a lesser CPU)
from fastgru.bench.cases import SUITES, Case
from fastgru.bench.result import Result, Row
from fastgru.bench.suite import run_suite

__all__ = ["SUITES", "Case", "Result", "Row", "run_suite"]
