"""Weights of low precision: how far they move what a model says, what they save, and which nodes are better left alone.

report = fastgru.quantize("model.onnx", precision="auto", max_error=0.01)
print(report)
report.model(x)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastgru.quantization.report import Errors, LayerReport, OutputReport, QuantizeReport, Timing
    from fastgru.quantization.run import AUTO_ERROR, PRECISIONS, quantize

__all__ = [
    "AUTO_ERROR",
    "PRECISIONS",
    "Errors",
    "LayerReport",
    "OutputReport",
    "QuantizeReport",
    "Timing",
    "quantize",
]

_LAZY = {
    **dict.fromkeys(("AUTO_ERROR", "PRECISIONS", "quantize"), "fastgru.quantization.run"),
    **dict.fromkeys(
        ("Errors", "LayerReport", "OutputReport", "QuantizeReport", "Timing"), "fastgru.quantization.report"
    ),
}


def __getattr__(name: str) -> Any:
    try:
        module = importlib.import_module(_LAZY[name])
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(module, name)
