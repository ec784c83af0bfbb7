"""ONNX files, opsets 7 to 28.

    graph = read_onnx("model.onnx")
    operators()                           # what is imported: one `Operator` each, for tables and for `inspect`

One module a family of operators; `registry` holds them all.
"""

from __future__ import annotations

from fastgru.importers.onnx import (
<<<<<<< HEAD
=======
    conv,
>>>>>>> f4e51ed (Convolutions, plain and transposed, over one and two axes)
    elementwise,
    gru,
    indexing,
    normalise,
    products,
    recurrent,
    reduce,
<<<<<<< HEAD
    scatter,
=======
>>>>>>> f4e51ed (Convolutions, plain and transposed, over one and two axes)
    shape,
    sources,
)
from fastgru.importers.onnx.reader import read_onnx
from fastgru.importers.onnx.registry import NEWEST_OPSET, OLDEST_OPSET, Operator, operators
from fastgru.importers.onnx.structure import inputs_to_fix

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "Operator", "inputs_to_fix", "operators", "read_onnx"]

# Importing a family registers its operators.
<<<<<<< HEAD
_FAMILIES = (elementwise, gru, indexing, normalise, products, recurrent, reduce, scatter, shape, sources)
=======
_FAMILIES = (conv, elementwise, gru, indexing, normalise, products, recurrent, reduce, shape, sources)
>>>>>>> f4e51ed (Convolutions, plain and transposed, over one and two axes)
