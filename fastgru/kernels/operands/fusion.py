"""The operands, operations and scratch of a fusion: what each operation reads, and its code."""

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

# As instruction words carry them: what reads two or three registers, what reads one, and the activations.
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

# What an operation of `UNARY` reads: three factors of gelu_tanh and hard_swish, the bound within which exp neither
# overflows nor rounds to zero, and two factors of selu.
UNARY_NUMBERS: Final = places("zero one half sixth tanh_scale tanh_cubic bound gamma gamma_alpha")

MAX_SOURCES: Final = 8
MAX_REGISTERS: Final = 24
BLOCK_BYTES: Final = 2048


# numbers: what the operations read beside registers. count: of the sources that are there, the others being absent.
# program: an `OPERATION` for each, then an nd-iterator over y and the sources.
FUSION: Final = Operands("y scratch numbers sources", "count operations", rest="program", sources=MAX_SOURCES)

# The operands of the nd-iterator.
ITERATED: Final = places("y sources", sources=MAX_SOURCES)

# target, a, b, c: registers; numbers: where those of the operation start.
OPERATION: Final = Words("code target a b c numbers")


def block_elements(dtype: Any) -> int:
    """Elements of a register: whole vectors."""
    return BLOCK_BYTES // int(np.dtype(dtype).itemsize)


class Scratch(NamedTuple):
    """Where, in elements, the addresses of what registers hold and the registers begin; how far these lie apart."""

    addresses: int
    registers: int
    register: int
    total: int


def scratch(dtype: Any, registers: int) -> Scratch:
    """The regions of scratch: an address a register, then the registers, each with a vector to spare."""
    item = int(np.dtype(dtype).itemsize)
    first, each = MAX_REGISTERS * 8 // item, (BLOCK_BYTES + 64) // item
    return Scratch(0, first, each, first + registers * each)


def parameters(kind: str, dtype: Any, *, alpha: float = 0.0, beta: float = 0.0, gamma: float = 0.0) -> list[float]:
    """The numbers that an operation reads beside its registers."""
    if kind in ACTIVATION_CODES:
        return [alpha, beta, 0, 1]
    if kind in UNARY._fields:
        bound = 80.0 if np.dtype(dtype) == np.float32 else 700.0
        tanh_scale = math.sqrt(2 / math.pi)
        return [0, 1, 0.5, 1 / 6, tanh_scale, tanh_scale * 0.044715, bound, gamma, gamma * alpha]
    return []
