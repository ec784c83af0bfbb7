"""The gradient of every operator that has one, in NumPy, written to be read beside the textbook.

    GRADIENTS[op](ups, inputs, outputs, **attrs) -> one array or None for each input

`ups` are the gradients of a number E by each output, dE/dy; what comes back are those by each input, dE/dx, None where
an input has none: an integer, or one that is absent. One module a family, the same stem as that of the definition. An
operator whose outputs consist of elements of its inputs says so in its facts (`moves`), and its gradient follows from
that.
"""

from fastgru.reference.gradients.registry import GRADIENTS, has_gradient, pull_back

__all__ = ["GRADIENTS", "has_gradient", "pull_back"]
