"""Quantization: how weights of low precision change the outputs, what they save, and which nodes should not have them.

report = fastgru.quantize("model.onnx", precision="auto", max_error=0.01)
print(report)
report.model(x)
"""

from fastgru.quantization.report import Errors, KeptBack, LayerReport, OutputReport, QuantizeReport, Timing
from fastgru.quantization.run import AUTO_ERROR, PRECISIONS, quantize

__all__ = [
    "AUTO_ERROR",
    "PRECISIONS",
    "Errors",
    "KeptBack",
    "LayerReport",
    "OutputReport",
    "QuantizeReport",
    "Timing",
    "quantize",
]
