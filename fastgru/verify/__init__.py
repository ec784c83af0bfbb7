"""Does a model give the numbers it should? Against the float64 definition, and against the framework of its file.

report = fastgru.verify("model.onnx")
assert report.holds, report
"""

from __future__ import annotations

from fastgru.verify.check import verify, verify_graph
from fastgru.verify.report import Check, Report

__all__ = ["Check", "Report", "verify", "verify_graph"]
