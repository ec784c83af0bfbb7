"""ONNX files, opsets 7 to 28.

    graph = read_onnx("model.onnx")
    operators()                           # what is imported: one `Operator` each, for tables and for `inspect`

One module a family of operators; `registry` holds them all.
"""

from __future__ import annotations

from fastgru.importers.onnx import (
    conv,
    elementwise,
    functions,
    gru,
    indexing,
    normalise,
    pool,
    positions,
    products,
    quantize,
    recurrent,
    reduce,
    resize,
    scatter,
    shape,
    sources,
    spectral,
)
from fastgru.importers.onnx.reader import read_onnx
from fastgru.importers.onnx.registry import NEWEST_OPSET, OLDEST_OPSET, Operator, operators
from fastgru.importers.onnx.structure import inputs_to_fix

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "Operator", "inputs_to_fix", "operators", "read_onnx"]

# Importing a family registers its operators.
_FAMILIES = (
    conv, elementwise, functions, gru, indexing, normalise, pool, positions, products, quantize, recurrent, reduce,
    resize, scatter, shape, sources, spectral,
)  # fmt: skip
