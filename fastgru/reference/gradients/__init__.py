"""The gradient of every operator that has one, in NumPy, written to be read beside the textbook.

    GRADIENTS[op](ups, inputs, outputs, **attrs) -> one array or None for each input

`ups` are the gradients of a number E by each output, dE/dy. The results are those by each input, dE/dx, None for an
input that is absent or an integer. Each family has one module, with the same stem as the definition. If the outputs of
an operator are elements of its inputs, its facts say so (`moves`), and its gradient follows from that.
"""

from fastgru.reference.gradients.registry import GRADIENTS, has_gradient, pull_back

__all__ = ["GRADIENTS", "has_gradient", "pull_back"]
