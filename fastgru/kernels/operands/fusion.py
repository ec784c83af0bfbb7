"""The operands and scratch of a fusion, and its operations: their codes, and what they read."""

import math
from typing import Any, Final, NamedTuple

import numpy as np

from fastgru.kernels.operands.activation import ACTIVATION_CODES
from fastgru.kernels.operands.declare import Operands, Words, codes, places

__all__ = [
    "ARITHMETIC",
    "ARITIES",
    "BINARY",
    "BLOCK_BYTES",
    "CODES",
    "FIRST_ACTIVATION",
    "FIRST_UNARY",
    "FUSION",
    "ITERATED",
    "MAX_REGISTERS",
    "MAX_SOURCES",
    "OPERATION",
    "UNARY",
    "UNARY_NUMBERS",
    "Scratch",
    "block_elements",
    "parameters",
    "scratch",
]

FIRST_UNARY: Final = 16
FIRST_ACTIVATION: Final = 32

# The codes in instruction words: operations that read two or three registers, those that read one, and activations.
ARITHMETIC: Final = codes("add sub mul div min max prelu fma clip")
UNARY: Final = codes(
    "abs neg sign sqrt reciprocal floor ceil round exp silu gelu_tanh hard_swish selu", first=FIRST_UNARY
)
CODES: Final[dict[str, int]] = {
    **ARITHMETIC._asdict(),
    **UNARY._asdict(),
    **{kind: FIRST_ACTIVATION + code for kind, code in ACTIVATION_CODES.items()},
}
BINARY: Final = ("add", "sub", "mul", "div", "min", "max", "prelu")
ARITIES: Final = {**dict.fromkeys(CODES, 1), **dict.fromkeys(BINARY, 2), "fma": 3, "clip": 3}

# The numbers that an operation of `UNARY` reads. half to tanh_cubic: of gelu_tanh and hard_swish. bound: exp neither
# overflows nor rounds to zero within it. gamma, gamma_alpha: of selu.
UNARY_NUMBERS: Final = places("zero one half sixth tanh_scale tanh_cubic bound gamma gamma_alpha")

MAX_SOURCES: Final = 8
MAX_REGISTERS: Final = 24
BLOCK_BYTES: Final = 2048


# numbers: what the operations read besides registers. count: the number of sources; the others are absent.
# program: an `OPERATION` for each of `operations`, then an nd-iterator over y and the sources.
FUSION: Final = Operands("y scratch numbers sources", "count operations", rest="program", sources=MAX_SOURCES)

# The operands of the nd-iterator.
ITERATED: Final = places("y sources", sources=MAX_SOURCES)

# target, a, b, c: registers. numbers: where the numbers of the operation start.
OPERATION: Final = Words("code target a b c numbers")


def block_elements(dtype: Any) -> int:
    """Return the elements of a register, which are whole vectors."""
    return BLOCK_BYTES // int(np.dtype(dtype).itemsize)


class Scratch(NamedTuple):
    """The regions of scratch, in elements.

    addresses, registers: where the addresses of the registers' contents, and the registers, begin. register: the
    distance of two registers.
    """

    addresses: int
    registers: int
    register: int
    total: int


def scratch(dtype: Any, registers: int) -> Scratch:
    """Return the regions of scratch: an address for each register, then the registers, each with a vector to spare."""
    item = int(np.dtype(dtype).itemsize)
    first, each = MAX_REGISTERS * 8 // item, (BLOCK_BYTES + 64) // item
    return Scratch(0, first, each, first + registers * each)


def parameters(kind: str, dtype: Any, *, alpha: float = 0.0, beta: float = 0.0, gamma: float = 0.0) -> list[float]:
    """Return the numbers that an operation reads besides its registers."""
    if kind in ACTIVATION_CODES:
        return [alpha, beta, 0, 1]
    if kind in UNARY._fields:
        bound = 80.0 if np.dtype(dtype) == np.float32 else 700.0
        tanh_scale = math.sqrt(2 / math.pi)
        return [0, 1, 0.5, 1 / 6, tanh_scale, tanh_scale * 0.044715, bound, gamma, gamma * alpha]
    return []
