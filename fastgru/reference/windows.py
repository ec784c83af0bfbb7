"""Windows that slide over the spatial axes of (N, C, D1, D2, ...), for convolutions and pools.

Along one axis of size n, output i of a window of k taps reads positions i * stride + tap * dilation - begin. There are
`begin` elements of padding before the axis and `end` after it.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated, Final

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.records import dataclass
from fastgru.reference.attributes import OneOf, Sizes
from fastgru.reference.dims import Dim, Dims
from fastgru.reference.sizes import Size, add, floor_divide, multiply, subtract

__all__ = ["Pads", "Windows", "check_forms", "overlaps", "slid", "slide", "spread", "spread_dims"]

# A file that goes beyond these limits is meant to exhaust memory or time.
_MAX_NUMBER: Final = 1 << 30
_MAX_TAPS: Final = 1 << 20
_MAX_OUTPUTS: Final = 1 << 26  # of a channel; more if the input itself is as large
_MAX_READS: Final = 1 << 32  # by the windows of a channel; more if the input is large
_READS_EACH: Final = 1 << 12


Pads = Sizes | Annotated[str, OneOf(("same_lower", "same_upper"))]  # before each axis, then after each


@dataclass(frozen=True)
class Windows:
    """Taps, strides, dilations, padding before and after, and sizes of the output, with one number for each axis."""

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
    """Raise `InvalidModelError` unless the lists of a node have entries for as many axes as `strides`."""
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
    """Return the windows over an input of sizes `spatial`. Raises `ShapeError`.

    pads: before each axis, then after each. "same_upper" and "same_lower" pad to ceil(size / stride) outputs, with an
        odd element after or before the axis.
    ceil_mode: the last window may reach beyond the end if it starts within the input or the padding before it.
    """
    _check_lengths(spatial, taps, strides, dilations, pads)
    begin, end, sizes = [], [], []
    for i, (n, k, s, d) in enumerate(zip(spatial, taps, strides, dilations, strict=True)):
        reach = (k - 1) * d + 1
        if isinstance(pads, str):
            before, after = _same(n, reach, s, upper=pads == "same_upper")
        else:
            before, after = pads[i], pads[i + len(spatial)]
            room = n + before + after - reach
            if room < 0:
                raise ShapeError(
                    f"axis {i + 2}: the window reaches over {reach} elements (kernel {k}, dilation {d}), more than the"
                    f" {n + before + after} of the padded input"
                )
        size = _slid_size(n, k, s, d, pads if isinstance(pads, str) else (before, after), ceil_mode=ceil_mode)
        assert isinstance(size, int)
        begin.append(before)
        end.append(after)
        sizes.append(size)
    _check_outputs(sizes, spatial, taps)
    return Windows(tuple(taps), tuple(strides), tuple(dilations), tuple(begin), tuple(end), tuple(sizes))


def _slid_size(
    n: Size, taps: Size, stride: int, dilation: int, pads: str | tuple[int, int], *, ceil_mode: bool
) -> Size:
    """Return the number of outputs along one axis of size n, with `pads` before and after it."""
    if isinstance(pads, str):
        return floor_divide(add(n, stride - 1), stride)
    before, after = pads
    room = subtract(add(n, before, after), add(multiply(subtract(taps, 1), dilation), 1))
    size = add(floor_divide(add(room, stride - 1) if ceil_mode else room, stride), 1)
    if not ceil_mode:
        return size
    if not isinstance(n, int) or not isinstance(size, int):
        return None
    return size - 1 if (size - 1) * stride >= n + before else size


def slid(
    dims: Sequence[Dim],
    taps: Sequence[Size],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
    *,
    ceil_mode: bool = False,
) -> Dims:
    """Return the spatial axes after `slide`. An axis that keeps its size with a stride of 1 stays the same axis."""
    each = zip(dims, taps, strides, dilations, _edges(pads, len(dims)), strict=True)
    return [_resized(dim, s, _slid_size(dim.size, k, s, d, e, ceil_mode=ceil_mode)) for dim, k, s, d, e in each]


def _edges(pads: Pads, rank: int) -> Sequence[str | tuple[int, int]]:
    """Return the padding of each axis, as `_slid_size` and `_spread_size` take it."""
    return [pads] * rank if isinstance(pads, str) else list(zip(pads[:rank], pads[rank:], strict=True))


def _resized(dim: Dim, stride: int, size: Size) -> Dim:
    return dim if stride == 1 and size == dim.size else dim.resized(size)


def spread(
    spatial: Sequence[int],
    taps: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
    output_padding: Sequence[int],
    output_shape: Sequence[int] | None = None,
) -> Windows:
    """Return the windows of a transposed convolution. They write the positions that `slide` over its output would read.

    With `output_shape`, the padding follows from the sizes; an odd element is cut from the end for "same_upper", from
    the beginning otherwise. "same_upper" and "same_lower" without `output_shape` give outputs of size * stride.

    Raises `ShapeError`.
    """
    _check_lengths(spatial, taps, strides, dilations, pads)
    rank = len(spatial)
    if len(output_padding) != rank or any(p < 0 or p > _MAX_NUMBER for p in output_padding):
        raise ShapeError(f"output_padding is {list(output_padding)}, expected {rank} numbers of at least 0")
    if output_shape is not None and len(output_shape) == rank + 2:
        output_shape = output_shape[2:]  # some files also give batch and channels
    if output_shape is not None and len(output_shape) != rank:
        raise ShapeError(f"output_shape is {list(output_shape)}, expected {rank} sizes")
    begin, end, sizes = [], [], []
    for i, (n, k, s, d, e) in enumerate(zip(spatial, taps, strides, dilations, _edges(pads, rank), strict=True)):
        size = _spread_size(n, k, s, d, e, output_padding[i], None if output_shape is None else output_shape[i])
        assert isinstance(size, int)
        cut = s * (n - 1) + output_padding[i] + (k - 1) * d + 1 - size
        if output_shape is None and not isinstance(pads, str):
            before = pads[i]
        else:
            before = max(cut, 0) // 2 if pads == "same_upper" else max(cut, 0) - max(cut, 0) // 2
        after = cut - before
        if size < 0 or (size == 0 and n > 0):
            raise ShapeError(
                f"axis {i + 2}: {size} outputs do not follow from {n} inputs with padding {before} and {after}"
            )
        begin.append(before)
        end.append(after)
        sizes.append(size if n else 0)
    _check_outputs(sizes, spatial, taps)
    return Windows(tuple(taps), tuple(strides), tuple(dilations), tuple(begin), tuple(end), tuple(sizes))


def _spread_size(
    n: Size, taps: Size, stride: int, dilation: int, pads: str | tuple[int, int], further: int, wanted: int | None
) -> Size:
    """Return the number of outputs along one axis of size n, less `pads` and plus `further`."""
    if wanted is not None or isinstance(pads, str):
        return multiply(n, stride) if wanted is None else wanted
    reach = add(multiply(subtract(taps, 1), dilation), 1)
    return add(multiply(subtract(n, 1), stride), further, reach, -pads[0], -pads[1])


def spread_dims(
    dims: Sequence[Dim],
    taps: Sequence[Size],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
    output_padding: Sequence[int],
    output_shape: Sequence[int] | None = None,
) -> Dims:
    """Return the spatial axes after `spread`."""
    rank = len(dims)
    wanted = [None] * rank if output_shape is None else output_shape[-rank:]
    each = zip(dims, taps, strides, dilations, _edges(pads, rank), output_padding, wanted, strict=True)
    return [
        _resized(dim, s, 0 if dim.size == 0 else _spread_size(dim.size, k, s, d, e, further, size))
        for dim, k, s, d, e, further, size in each
    ]


def overlaps(
    windows: Windows, small: Sequence[int], large: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], list[slice], list[slice]]]:
    """Yield each tap, its positions i along axes of sizes `small`, and the positions that it reads in `large`.

    The latter are i * stride + tap * dilation - begin. Positions outside either are left out, and so are taps without
    any position.
    """
    for tap in product(*map(range, windows.taps)):
        near, far = [], []
        axes = zip(tap, windows.dilations, windows.strides, windows.begin, small, large, strict=True)
        for t, d, s, b, n, e in axes:
            shift = t * d - b
            first, last = max(0, -(shift // s)), min(n, (e - 1 - shift) // s + 1)
            near.append(slice(first, last))
            far.append(slice(first * s + shift, (last - 1) * s + shift + 1, s))
        if all(i.start < i.stop for i in near):
            yield tap, near, far


def _check_lengths(
    spatial: Sequence[int],
    taps: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
) -> None:
    rank = len(spatial)
    if rank == 0:
        raise ShapeError("x has no spatial axis, expected (N, C, D1, ...)")
    for name, numbers in (("kernel", taps), ("strides", strides), ("dilations", dilations)):
        if len(numbers) != rank or any(not 1 <= k <= _MAX_NUMBER for k in numbers):
            raise ShapeError(f"{name} is {list(numbers)}, expected {rank} numbers of at least 1")
    if math.prod(taps) > _MAX_TAPS:
        raise ShapeError(f"kernel {list(taps)} has {math.prod(taps)} taps, expected at most {_MAX_TAPS}")
    if not isinstance(pads, str) and (len(pads) != 2 * rank or any(not 0 <= p <= _MAX_NUMBER for p in pads)):
        raise ShapeError(
            f"pads are {list(pads)}, expected {2 * rank} numbers of at least 0, first those before and then those"
            " behind"
        )


def _check_outputs(sizes: Sequence[int], spatial: Sequence[int], taps: Sequence[int]) -> None:
    if math.prod(sizes) > max(_MAX_OUTPUTS, math.prod(spatial)):
        raise ShapeError(f"outputs of {list(sizes)} from inputs of {list(spatial)}, expected at most {_MAX_OUTPUTS}")
    if math.prod(sizes) * math.prod(taps) > max(_MAX_READS, _READS_EACH * math.prod(spatial)):
        raise ShapeError(f"outputs of {list(sizes)} read {list(taps)} each, far more than inputs of {list(spatial)}")


def _same(n: int, reach: int, stride: int, *, upper: bool) -> tuple[int, int]:
    total = max((-(-n // stride) - 1) * stride + reach - n, 0)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)
