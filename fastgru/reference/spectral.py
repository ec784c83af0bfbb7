"""The discrete Fourier transform of an axis or of overlapping frames; the last axis holds real and imaginary parts."""

import math
from typing import Any, Final

import numpy as np

from fastgru.errors import ShapeError
from fastgru.modules import late
from fastgru.reference.attributes import Axis, Count
from fastgru.reference.dims import Dim, Dims, Facts, Operand
from fastgru.reference.operator import Array, need_floating, operator, same_dtype
from fastgru.reference.shape import normal_axis
from fastgru.reference.sizes import Size, add, floor_divide, multiply, subtract

__all__ = ["check_stft", "dft", "dft_sizes", "dft_table", "mel_weights", "stft"]


MOST_POINTS: Final = 1 << 26


def dft_sizes(
    shape: tuple[int, ...], axis: int, length: int | None, *, onesided: bool, inverse: bool
) -> tuple[int, int, int, int]:
    """Return (axis, points of the transform, positions of x that it reads, positions of y). Raises `ShapeError`."""
    if len(shape) < 2 or shape[-1] not in (1, 2):
        raise ShapeError(f"dft: x has shape {shape}, expected (..., 1) for real and (..., 2) for complex numbers")
    axis = normal_axis(axis, len(shape))
    if axis == len(shape) - 1:
        raise ShapeError(f"dft: axis {axis} of shape {shape} holds the real and imaginary parts, expected another axis")
    have = shape[axis]
    if length is None:
        length = 2 * (have - 1) if onesided and inverse else have
    if not 1 <= length <= MOST_POINTS:
        raise ShapeError(f"dft: got {length} points, expected 1 to {MOST_POINTS}")
    half = length // 2 + 1
    if onesided and inverse:
        if shape[-1] != 2:
            raise ShapeError(f"dft: x has shape {shape}, expected (..., 2) for a one-sided inverse")
        return axis, length, min(have, half), length
    if onesided and shape[-1] == 2:
        raise ShapeError(f"dft: x has shape {shape}, expected (..., 1): a one-sided transform needs real numbers")
    return axis, length, min(have, length), half if onesided else length


def dft_table(n: int, inputs: int, outputs: int, *, complex_in: bool, onesided: bool, inverse: bool) -> Array:
    """Return the transform as a float64 matrix (inputs * parts, outputs * parts), by which rows are multiplied."""
    turns = np.outer(np.arange(inputs), np.arange(outputs)) % n
    angle = 2 * np.pi / n * turns
    c, s = np.cos(angle), np.sin(angle)
    if onesided and inverse:  # a real sequence: each bin but the first and the middle stands for two
        twice = np.full(inputs, 2.0)
        twice[0] = 1.0
        if n % 2 == 0 and inputs == n // 2 + 1:
            twice[-1] = 1.0
        return np.asarray(np.stack([c, -s], axis=1).reshape(2 * inputs, outputs) * np.repeat(twice, 2)[:, None] / n)
    s = -s if not inverse else s
    real = np.stack([c, s], axis=-1)
    if not complex_in:
        table = real.reshape(inputs, 2 * outputs)
    else:
        table = np.stack([real, np.stack([-s, c], axis=-1)], axis=1).reshape(2 * inputs, 2 * outputs)
    return np.asarray(table / n if inverse else table)


def _bins(points: Size, onesided: bool) -> Size:
    return add(floor_divide(points, 2), 1) if onesided else points


def _transformed(
    x: Operand, *, axis: int, length: int | None = None, onesided: bool = False, inverse: bool = False
) -> Dims:
    at, real = range(x.rank)[axis], onesided and inverse
    have = x.sizes[at]
    points = length if length is not None else multiply(2, subtract(have, 1)) if real else have
    dims = list(x.dims)
    dims[at], dims[-1] = Dim(points if real else _bins(points, onesided)), Dim(1 if real else 2)
    return dims


def _transform_bound(x: Operand, **attrs: Any) -> int:
    """Return the numbers in a complex transform with all its points."""
    sides = {name: attrs.get(name, False) for name in ("onesided", "inverse")}
    at, points, *_ = dft_sizes(x.shape, attrs["axis"], attrs.get("length"), **sides)
    return 2 * points * (math.prod(x.shape) // max(x.shape[at], 1))


@operator("dft", Facts(_transformed, bound=_transform_bound))
def dft(x: Array, *, axis: Axis, length: Count | None = None, onesided: bool = False, inverse: bool = False) -> Array:
    """x (..., 1) or (..., 2) -> its transform along `axis`, cut or filled with zeros to `length` points, (..., 2).

    inverse: the inverse transform, with the other sign and divided by the number of points. onesided: the first half of
    the points of a transform of real numbers; its inverse reads half of the points and returns real numbers (..., 1).
    """
    need_floating("dft", x)
    axis, n, _, _ = dft_sizes(x.shape, axis, length, onesided=onesided, inverse=inverse)
    numbers, fft = x[..., 0] if x.shape[-1] == 1 else x[..., 0] + 1j * x[..., 1], late("numpy.fft")
    if onesided and inverse:
        return np.asarray(fft.irfft(numbers, n, axis))[..., None].astype(x.dtype)
    transform = fft.ifft if inverse else fft.rfft if onesided else fft.fft
    y = transform(numbers, n, axis)
    return np.stack([y.real, y.imag], axis=-1).astype(x.dtype)


def check_stft(
    signal: tuple[int, ...], window: tuple[int, ...] | None, step: int, length: int | None, onesided: bool
) -> tuple[int, int]:
    """Return (length of a frame, number of frames). Raises `ShapeError`."""
    if len(signal) not in (2, 3) or (len(signal) == 3 and signal[2] not in (1, 2)):
        raise ShapeError(f"stft: signal has shape {signal}, expected (N, L), (N, L, 1) or (N, L, 2)")
    if length is None:
        if window is None:
            raise ShapeError("stft: the window and the length of a frame are both missing, expected one of them")
        length = window[0] if window else 0
    if (window is not None and window != (length,)) or not 1 <= length <= signal[1] or step < 1:
        raise ShapeError(
            f"stft: window {window}, frames of {length} every {step} for a signal of {signal[1]}: expected a window as"
            " long as a frame, a frame no longer than the signal and a step of at least 1"
        )
    if onesided and len(signal) == 3 and signal[2] == 2:
        raise ShapeError("stft: a one-sided transform needs a real signal")
    return length, (signal[1] - length) // step + 1


def _framed(
    signal: Operand, window: Operand | None = None, *, step: int, length: int | None = None, onesided: bool = True
) -> Dims:
    if not signal.is_ranked:
        return [Dim(None), Dim(None), Dim(None), Dim(2)]
    points = length if length is not None or window is None else window.sizes[0]
    frames = add(floor_divide(subtract(signal.sizes[1], points), step), 1)
    return [signal.dims[0], signal.dims[1].resized(frames), Dim(_bins(points, onesided)), Dim(2)]


def _frames_bound(signal: Operand, window: Operand | None = None, **attrs: Any) -> int:
    """Return an upper bound: four numbers for every point of every frame."""
    onesided = attrs.get("onesided", True)
    shape = None if window is None else window.shape
    size, frames = check_stft(signal.shape, shape, attrs["step"], attrs.get("length"), onesided)
    return 4 * size * frames * signal.shape[0]


@operator("stft", Facts(_framed, bound=_frames_bound))
def stft(
    signal: Array, window: Array | None = None, *, step: Count, length: Count | None = None, onesided: bool = True
) -> Array:
    """signal (N, L), (N, L, 1) or (N, L, 2) -> (N, frames, bins, 2): the transform of every windowed frame."""
    need_floating("stft", signal)
    size, frames = check_stft(signal.shape, None if window is None else window.shape, step, length, onesided)
    x = signal if signal.ndim == 3 else signal[..., None]
    taken = x[:, np.arange(frames)[:, None] * step + np.arange(size)]
    if window is not None:
        same_dtype(signal=signal, window=window)
        taken = taken * window[:, None]
    return dft(taken, axis=2, onesided=onesided)


def mel_weights(bands: int, points: int, rate: int, lowest: float, highest: float) -> Array:
    """Return (points // 2 + 1, bands), float64: triangles over the bins of a spectrum, evenly spaced in mel (ONNX).

    mel = 2595 log10(1 + f / 700). The corners are the bins floor((points + 1) f / rate). A triangle rises from 0 at its
    first corner to 1 at its second and falls to 0 at its third.
    """
    bins = points // 2 + 1
    first, last = (2595 * np.log10(1 + f / 700) for f in (lowest, highest))
    mels = np.linspace(first, last, bands + 2, endpoint=False)  # ONNX's spacing, without the highest
    corners = np.floor((points + 1) * (700 * (10 ** (mels / 2595) - 1)) / rate).astype(np.int64)
    table = np.zeros((bins, bands))
    for band in range(bands):
        low, top, high = corners[band : band + 3]
        if low == top:
            table[top : top + 1, band] = 1
        for i in range(max(low, 0), min(top + 1, bins) if low != top else 0):
            table[i, band] = (i - low) / (top - low)
        for i in range(max(top, 0), min(high, bins) if high != top else 0):
            table[i, band] = (high - i) / (high - top)
    return table
