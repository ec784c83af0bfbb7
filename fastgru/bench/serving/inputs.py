"""The data to send: random arrays with the datatypes and shapes in the server's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from fastgru.bench.serving.wire import DATATYPES, Frame
from fastgru.bench.sizes import read_shape
from fastgru.errors import FastGRUError
from fastgru.records import dataclass

__all__ = ["Input", "frames_for", "inputs_of", "parse_shapes", "shapes_of"]

Shape = tuple[int, ...]
_NAMES: Final = {datatype: name for name, datatype in DATATYPES.items()}
_MEMORY: Final = 128 << 20  # for messages that are encoded before the clock starts
_MOST, _LEAST = 32, 2  # number of different frames


@dataclass(frozen=True)
class Input:
    """A tensor of a model; -1 stands for a free size."""

    name: str
    datatype: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {list(self.shape)}"


def inputs_of(metadata: Mapping[str, Any]) -> tuple[Input, ...]:
    """Return the inputs in a model's V2 metadata. Raises `FastGRUError` for datatypes without random numbers."""
    try:
        found = tuple(
            Input(each["name"], each["datatype"], tuple(map(int, each["shape"]))) for each in metadata["inputs"]
        )
    except (KeyError, TypeError, ValueError):
        raise FastGRUError(f"the server's metadata does not tell the model's inputs: {str(metadata)[:200]}") from None
    for each in found:
        if each.datatype not in _NAMES:
            raise FastGRUError(f"input {each.name} has datatype {each.datatype}: expected one of {', '.join(_NAMES)}")
    return found


def parse_shapes(texts: Sequence[str], inputs: Sequence[Input]) -> dict[str, Shape]:
    """Parse shapes of inputs from the user, as in x=1x1x40. Raises `FastGRUError` for one that an input cannot have."""
    given, known = {}, {each.name: each for each in inputs}
    for text in texts:
        name, shape = read_shape(text)
        if name not in known:
            raise FastGRUError(f"--shape {text}: no input has this name; the inputs are {', '.join(map(str, inputs))}")
        wanted = known[name].shape
        if len(shape) != len(wanted) or any(w not in (-1, size) for size, w in zip(shape, wanted, strict=True)):
            raise FastGRUError(f"--shape {text}: {known[name]} cannot have it")
        given[name] = shape
    return given


def shapes_of(inputs: Sequence[Input], chunk: int, given: Mapping[str, Shape]) -> Iterator[list[Shape]]:
    """Yield shapes of all inputs with `chunk` steps: first on their last free axis, then on the axes before it.

    Metadata does not tell which axis is time. The server accepts only the right one of these. Other free sizes are 1.
    Raises `FastGRUError` if no axis is free for a chunk.
    """
    free = [[] if i.name in given else [k for k, size in enumerate(i.shape) if size < 0] for i in inputs]
    deepest = max(map(len, free), default=0)
    if chunk > 1 and not deepest:
        raise FastGRUError(f"--chunk {chunk}: no input has a free axis: {', '.join(map(str, inputs))}")
    for back in range(1, 1 + (deepest if chunk > 1 else 1)):
        shapes = []
        for each, axes in zip(inputs, free, strict=True):
            shape = [1 if size < 0 else size for size in given.get(each.name, each.shape)]
            if len(axes) >= back:
                shape[axes[-back]] = chunk
            shapes.append(tuple(shape))
        yield shapes


def frames_for(inputs: Sequence[Input], shapes: Sequence[Shape], copies: int, seed: int = 0) -> list[Frame]:
    """Return different frames, which a session sends in turn: fewer if `copies` of each would fill memory.

    Floats are normal. Integers are 0 and 1, which any vocabulary has.
    """
    size = sum(prod(shape) * np.dtype(_dtype(i)).itemsize for i, shape in zip(inputs, shapes, strict=True)) + 600
    count = max(_LEAST, min(_MOST, _MEMORY // (size * max(1, copies))))
    rng = np.random.default_rng(seed)

    def made(each: Input, shape: Shape) -> np.ndarray[Any, Any]:
        dtype = _dtype(each)
        if each.datatype.startswith(("FP", "BF")):
            return rng.standard_normal(shape).astype(dtype)
        return rng.integers(0, 2, shape).astype(dtype)

    return [[made(each, shape) for each, shape in zip(inputs, shapes, strict=True)] for _ in range(count)]


def _dtype(each: Input) -> Any:
    name = _NAMES[each.datatype]
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return name
