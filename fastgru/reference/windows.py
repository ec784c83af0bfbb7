"""Windows that slide over the spatial axes of (N, C, D1, D2, ...): what convolutions and pools share.

Along one axis of size n, output i of a window of k taps reads positions i * stride + tap * dilation - begin, where
`begin` elements of padding stand before the axis and `end` after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.reference.attributes import OneOf, Sizes

__all__ = ["Pads", "Windows", "check_forms", "slide", "spread"]

# Beyond these a file is out to fill the memory or the time.
_MAX_NUMBER: Final = 1 << 30
_MAX_TAPS: Final = 1 << 20
_MAX_OUTPUTS: Final = 1 << 26  # of a channel; more where the input itself is as large
_MAX_READS: Final = 1 << 32  # by the windows of a channel; more where the input is large
_READS_EACH: Final = 1 << 12


Pads = Sizes | Annotated[str, OneOf(("same_lower", "same_upper"))]  # befores then afters, or as much as keeps the size


@dataclass(frozen=True)
class Windows:
    """One number an axis: taps, strides, dilations, padding before and after, and sizes of the output."""

    taps: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    sizes: tuple[int, ...]


def check_forms(
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
    kernel: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    **_: object,
) -> None:
    """Raise `InvalidModelError` unless the lists of a node are for as many axes as `strides`."""
    rank = len(strides)
    for name, given, counts in (
        ("dilations", dilations, (rank,)),
        ("kernel", kernel, (rank,)),
        ("output_padding", output_padding, (rank,)),
        ("output_shape", output_shape, (rank, rank + 2)),
        ("pads", None if isinstance(pads, str) else pads, (2 * rank,)),
    ):
        if given is not None and len(given) not in counts:
            raise InvalidModelError(f"{name} has {len(given)} entries, expected {counts[0]} for {rank} strides")


def slide(
    spatial: Sequence[int],
    taps: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
    *,
    ceil_mode: bool = False,
) -> Windows:
    """The windows over an input of sizes `spatial`.

    pads: before each axis, then after each; or "same_upper", "same_lower": as much as gives ceil(size / stride)
    outputs, the odd element after or before. ceil_mode: a last window may reach over the end, if it starts within the
    input or the padding before it.
    """
    _check_lengths(spatial, taps, strides, dilations, pads)
    begin, end, sizes = [], [], []
    for i, (n, k, s, d) in enumerate(zip(spatial, taps, strides, dilations, strict=True)):
        reach = (k - 1) * d + 1
        if isinstance(pads, str):
            before, after = _same(n, reach, s, upper=pads == "same_upper")
            size = -(-n // s)
        else:
            before, after = pads[i], pads[i + len(spatial)]
            room = n + before + after - reach
            if room < 0:
                raise ShapeError(
                    f"axis {i + 2}: the window reaches over {reach} elements (kernel {k}, dilation {d}), more than the"
                    f" {n + before + after} of the padded input"
                )
            size = (-(-room // s) if ceil_mode else room // s) + 1
            if ceil_mode and (size - 1) * s >= n + before:
                size -= 1
        begin.append(before)
        end.append(after)
        sizes.append(size)
    _check_outputs(sizes, spatial, taps)
    return Windows(tuple(taps), tuple(strides), tuple(dilations), tuple(begin), tuple(end), tuple(sizes))


def spread(
    spatial: Sequence[int],
    taps: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
    output_padding: Sequence[int],
    output_shape: Sequence[int] | None = None,
) -> Windows:
    """The windows of a transposed convolution: what is read by `slide` over its output is written here.

    With `output_shape` the padding follows from the sizes: the odd element is taken from the end for "same_upper", from
    the beginning otherwise. "same_upper" and "same_lower" alone stand for outputs of size * stride.
    """
    _check_lengths(spatial, taps, strides, dilations, pads)
    rank = len(spatial)
    if len(output_padding) != rank or any(p < 0 or p > _MAX_NUMBER for p in output_padding):
        raise ShapeError(f"output_padding {list(output_padding)}, expected {rank} numbers of at least 0")
    if output_shape is not None and len(output_shape) == rank + 2:
        output_shape = output_shape[2:]  # some write batch and channels, too
    if output_shape is not None and len(output_shape) != rank:
        raise ShapeError(f"output_shape {list(output_shape)}, expected {rank} sizes")
    begin, end, sizes = [], [], []
    for i, (n, k, s, d) in enumerate(zip(spatial, taps, strides, dilations, strict=True)):
        whole = s * (n - 1) + output_padding[i] + (k - 1) * d + 1
        if output_shape is None and not isinstance(pads, str):
            before, after = pads[i], pads[i + rank]
        else:
            wanted = n * s if output_shape is None else output_shape[i]
            total = max(whole - wanted, 0)
            before = total // 2 if pads == "same_upper" else total - total // 2
            after = whole - wanted - before
        size = whole - before - after
        if size < 0 or (size == 0 and n > 0):
            raise ShapeError(f"axis {i + 2}: {size} outputs from {n} inputs, padding {before} and {after}")
        begin.append(before)
        end.append(after)
        sizes.append(size if n else 0)
    _check_outputs(sizes, spatial, taps)
    return Windows(tuple(taps), tuple(strides), tuple(dilations), tuple(begin), tuple(end), tuple(sizes))


def _check_lengths(
    spatial: Sequence[int],
    taps: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
) -> None:
    rank = len(spatial)
    if rank == 0:
        raise ShapeError("there is no spatial axis, expected (N, C, D1, ...)")
    for name, numbers in (("kernel", taps), ("strides", strides), ("dilations", dilations)):
        if len(numbers) != rank or any(not 1 <= k <= _MAX_NUMBER for k in numbers):
            raise ShapeError(f"{name} {list(numbers)}, expected {rank} numbers of at least 1")
    if math.prod(taps) > _MAX_TAPS:
        raise ShapeError(f"kernel {list(taps)} has {math.prod(taps)} taps, expected at most {_MAX_TAPS}")
    if isinstance(pads, str):
        if pads not in ("same_upper", "same_lower"):
            raise UnsupportedModelError(f"pads {pads!r} is not one of same_lower, same_upper, or numbers")
    elif len(pads) != 2 * rank or any(not 0 <= p <= _MAX_NUMBER for p in pads):
        raise ShapeError(f"pads {list(pads)}, expected {2 * rank} numbers of at least 0: all befores, then all afters")


def _check_outputs(sizes: Sequence[int], spatial: Sequence[int], taps: Sequence[int]) -> None:
    if math.prod(sizes) > max(_MAX_OUTPUTS, math.prod(spatial)):
        raise ShapeError(f"outputs of {list(sizes)} from inputs of {list(spatial)}, expected at most {_MAX_OUTPUTS}")
    if math.prod(sizes) * math.prod(taps) > max(_MAX_READS, _READS_EACH * math.prod(spatial)):
        raise ShapeError(f"outputs of {list(sizes)} read {list(taps)} each, far more than inputs of {list(spatial)}")


def _same(n: int, reach: int, stride: int, *, upper: bool) -> tuple[int, int]:
    total = max((-(-n // stride) - 1) * stride + reach - n, 0)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)
