"""The layout of binary messages: how their bytes hold the inputs or outputs of a model.

A message holds the inputs one after another, in the order in which the model's metadata lists them. The values of an
input are in C order (the last axis varies fastest), little-endian, each in as many bytes as its datatype has; a BOOL is
one byte, 0 or 1. There is no header, and nothing lies between the inputs. Answers hold the outputs in the same way, in
the order of the metadata.

A sequence has one row, so the batch axis has size 1. The size of an axis that the model leaves free, such as that of
time, follows from the number of bytes: a message may hold one step or many. If several inputs have such an axis, it has
the same size in all of them. If an input has more than one such axis, their sizes do not follow from the number of
bytes; the client then gives `shapes` when it opens the stream.
"""

from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np

from fastgru.graph import Array
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import Field
from fastgru.serve.models import Served
from fastgru.serve.v2.frames import Region, take

__all__ = ["Layout"]

_KEPT: Final = 64  # how many sizes of messages are cached with their meaning
Shape = tuple[int, ...]


class Layout:
    """The layout of the messages of one stream.

    given: {input: shape} from the client, with -1 for the size that follows from the number of bytes. shapes: the
    shapes of all inputs, None for a shape that is not known. Raises `ServeError`, 400, for shapes that the model does
    not take.
    """

    def __init__(self, served: Served, given: Any = None) -> None:
        self._served = served
        shapes = _given_shapes(served, given)
        axes = served.batch_axes or (None,) * len(served.inputs)
        self.shapes = tuple(
            [shapes.get(field.name, _declared(field, axis)) for field, axis in zip(served.inputs, axes, strict=True)]
        )
        self._kept: dict[int, tuple[Region, ...]] = {}
        dtypes = [field.dtype for field in served.inputs]
        self._dtype = dtypes[0] if len(dtypes) == 1 and dtypes[0].kind != "b" else None
        self._alone: dict[int, Shape] = {}  # for models with one input: bytes -> shape

    def arrays(self, data: bytes) -> tuple[Array, ...]:
        """Return the inputs as views of the bytes. Raises `ServeError`, 400, if the number of bytes does not fit."""
        shape = self._alone.get(len(data))
        if shape is not None:
            return (np.ndarray(shape, self._dtype, data),)
        regions = self._kept.get(len(data))
        if regions is not None:
            return take(regions, data, 0)
        regions = self._regions(len(data))
        arrays = take(regions, data, 0)
        self._served.check(arrays)
        while len(self._kept) >= _KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._alone.pop(oldest, None)
        self._kept[len(data)] = regions
        if self._dtype is not None and data:
            self._alone[len(data)] = regions[0].shape
        return arrays

    def _regions(self, size: int) -> tuple[Region, ...]:
        """Return where each input lies in a message of `size` bytes."""
        fixed = unit = 0
        shapes: list[Shape] = []
        for field, shape in zip(self._served.inputs, self.shapes, strict=True):
            if shape is None or shape.count(-1) > 1:
                what = "any number of axes" if shape is None else f"the shape {list(shape)}"
                raise ServeError(
                    400,
                    f"input {field.name!r} has {what}, which does not follow from the number of bytes: open the stream"
                    f' with "shapes": {{"{field.name}": [...]}}',
                    reason="shape",
                )
            shapes.append(shape)
            values = prod([n for n in shape if n >= 0]) * field.dtype.itemsize
            if -1 in shape:
                unit += values
            else:
                fixed += values
        steps, rest = divmod(size - fixed, unit) if unit else (1, size - fixed)
        if rest or steps < 1:
            raise self._misfit(size, fixed, unit)
        regions, offset = [], 0
        for field, shape in zip(self._served.inputs, shapes, strict=True):
            shape = tuple([steps if n < 0 else n for n in shape])
            regions.append(Region(field, shape, offset))
            offset += prod(shape) * field.dtype.itemsize
        return tuple(regions)

    def _misfit(self, size: int, fixed: int, unit: int) -> ServeError:
        inputs = ", ".join(
            f"{field.name} {field.datatype} {list(shape or ())}"
            for field, shape in zip(self._served.inputs, self.shapes, strict=True)
        )
        expected = str(fixed) if not unit else f"a multiple of {unit}" + (f" and {fixed} more" if fixed else "")
        return ServeError(400, f"the message has {size} bytes, expected {expected} for {inputs}", reason="shape")


def _declared(field: Field, axis: int | None) -> Shape | None:
    """Return the shape of an input in a sequence, whose batch is 1."""
    if field.shape is None:
        return None
    return tuple([1 if i == axis else n for i, n in enumerate(field.shape)])


def _given_shapes(served: Served, given: Any) -> Mapping[str, Shape]:
    if given is None:
        return {}
    fields = {field.name: field for field in served.inputs}
    if type(given) is not dict or not given.keys() <= fields.keys():
        raise ServeError(
            400, f"shapes are {given!r:.160}, expected an object with shapes of {', '.join(fields)}", reason="shape"
        )
    for name, shape in given.items():
        declared = fields[name].shape
        if (
            type(shape) is not list
            or not all(type(n) is int and -1 <= n < 1 << 40 for n in shape)
            or shape.count(-1) > 1
            or (declared is not None and len(declared) != len(shape))
            or not all(m in (-1, n) or n == -1 for m, n in zip(declared or shape, shape, strict=False))
            or len(shape) > 32
        ):
            expected = "a list of sizes" if declared is None else f"sizes for {list(declared)}"
            raise ServeError(
                400,
                f"shapes: input {name!r} is {shape!r:.160}, expected {expected}, at most one of them -1",
                reason="shape",
            )
    return {name: tuple(shape) for name, shape in given.items()}
