"""Activations: element by element, through the codes of `kernels.activation`."""

from __future__ import annotations

from collections.abc import Sequence

import fastgru.kernels.activation as kernel
from fastgru.engine.builder import Builder
from fastgru.engine.lowering import lowering
from fastgru.engine.view import Value
from fastgru.graph import Node
from fastgru.spec import Activation

__all__ = ["lower_activation"]


@lowering("activation")
def lower_activation(builder: Builder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """y = f(x)."""
    assert inputs[0] is not None
    f = Activation(**node.attrs)
    x = builder.contiguous(inputs[0])
    y = builder.new(x.shape)
    parameters = builder.packed(
        ("activation", f.kind, repr(f.alpha), repr(f.beta)),
        lambda: kernel.activation_parameters(f.alpha, f.beta, builder.float_dtype),
    )
    builder.emit("activation", x.dtype, [x, y, parameters], [x.size, kernel.ACTIVATION_CODES[f.kind]])
    return [y]
