"""The effect of a state or a frame k frames later, and the growth of a small difference between two states.

The effects are dh_T/dh_{T-k} and dy_T/dx_{T-k} of a whole model, along real input. These products of Jacobians are
never computed as products of matrices. Their columns are carried from frame to frame, as derivatives along directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import LearningError
from fastgru.learn.frames import Frame
from fastgru.learn.tangents import Point, Step
from fastgru.records import dataclass

__all__ = ["Growth", "Influence", "growth", "influences", "lags"]

_MOST_EXACT: Final = 512  # directions, if they run as the rows of a batch
_MOST_EXACT_ALONE: Final = 64
_PROBES: Final = 16
_GONE: Final = 1e-12  # share of the largest norm below which an effect is not followed further
_BLOCK: Final = 32  # frames over which the least and the largest growth are averaged
_STAYS: Final = 1e-5  # logarithms of the growth per frame below this count as 0
_MOST_FRAMES: Final = 4096  # along which the growth is measured


@dataclass(frozen=True)
class Influence:
    """Norms of a Jacobian against the distance k in frames.

    norm: "largest singular value", computed from all columns of the Jacobian. For states that are too large for that,
        "Frobenius norm, from 16 random directions", an estimate that is right within about a quarter.
    k: the distances, in frames.
    mean, largest: the mean and the largest norm for each k, over several frames T.

    Norms below 1e-12 of the largest are not followed further, and the norms after them are 0.
    """

    norm: str
    k: tuple[int, ...]
    mean: tuple[float, ...]
    largest: tuple[float, ...]


@dataclass(frozen=True)
class Growth:
    """The factor by which a small difference between two states grows in one frame, along the input.

    mean: the geometric mean over all frames. Its logarithm is the largest Lyapunov exponent.
    least, most: the smallest and the largest geometric mean over a block of 32 frames.
    half_life: the number of frames after which a difference is half as large. Infinite if it does not shrink.
    frames: how many frames were measured.
    verdict: "vanishes", "explodes" or "stays".
    """

    mean: float
    least: float
    most: float
    half_life: float
    frames: int
    verdict: str


def lags(most: int) -> list[int]:
    """Return the lags 1 to 8, about six for each doubling of k from there, and `most`."""
    steps = {*range(1, 9), *np.unique(np.rint(8 * 2 ** np.arange(0, 40, 1 / 6)).astype(np.int64)).tolist()}
    return [k for k in sorted(steps) if k < most] + [most]


def influences(
    step: Step,
    runs: Sequence[tuple[Point, Sequence[Frame]]],
    rng: np.random.Generator,
    tell: Callable[[int, int], object],
) -> tuple[Influence, Influence]:
    """Return the influence of a state on later states, and of a frame on later outputs.

    runs: states, each with the frames that follow it.
    """
    most = min(len(frames) for _, frames in runs) - 1
    every = lags(most)
    limit = _MOST_EXACT if step.in_rows else _MOST_EXACT_ALONE
    exact = [size <= limit for size in (step.S, step.I)]
    directions = [
        np.eye(size) if is_exact else rng.standard_normal((size, _PROBES))
        for size, is_exact in zip((step.S, step.I), exact, strict=True)
    ]
    norms = [_spectral if is_exact else _frobenius for is_exact in exact]
    found = np.zeros((2, len(runs), len(every)))
    for n, (point, frames) in enumerate(runs):
        so_far = partial(_tell_of_run, tell, n * (most + 1), len(runs) * (most + 1))
        _follow(step, point, frames[: most + 1], directions, norms, every, found[:, n], so_far)
    words = ["largest singular value" if e else f"Frobenius norm, from {_PROBES} random directions" for e in exact]
    of_states, of_frames = (
        Influence(word, tuple(every), tuple(map(float, a.mean(axis=0))), tuple(map(float, a.max(axis=0))))
        for word, a in zip(words, found, strict=True)
    )
    return of_states, of_frames


def _tell_of_run(tell: Callable[[int, int], object], before: int, total: int, done: int) -> None:
    tell(before + done, total)


def _follow(
    step: Step,
    point: Point,
    frames: Sequence[Frame],
    directions: Sequence[Array],
    norms: Sequence[Callable[[Array], float]],
    every: Sequence[int],
    found: Array,
    tell: Callable[[int], object],
) -> None:
    """Fill `found` (2, k) for one run with the norms of dh_T/dh_{T-k} and dy_T/dx_{T-k} for each k of `every`."""
    of_states, of_inputs = directions
    m, largest = of_states.shape[1], np.zeros(2)
    columns = np.zeros((step.S, 0))
    for j, frame in enumerate(frames):
        tell(j + 1)
        feeds = step.feeds(frame)
        if j == 0:
            states = np.concatenate([of_states, np.zeros((step.S, of_inputs.shape[1]))], axis=1)
            inputs = np.concatenate([np.zeros((step.I, m)), of_inputs], axis=1)
            columns, shown = step.along(point, feeds, states, inputs)
        else:
            columns, shown = step.along(point, feeds, columns)
        point, _ = step.run(point, feeds)
        if j in every:
            found[1, every.index(j)] = norms[1](shown[:, m:])
        if j + 1 in every:
            found[0, every.index(j + 1)] = norms[0](columns[:, :m])
        sizes = np.array([np.linalg.norm(columns[:, :m]), np.linalg.norm(shown[:, m:])])
        largest = np.maximum(largest, sizes)
        if (sizes <= _GONE * largest).all() and not (np.linalg.norm(columns[:, m:]) > _GONE * largest[0]):
            return


def growth(step: Step, frames: Sequence[Frame], rng: np.random.Generator, tell: Callable[[int, int], object]) -> Growth:
    """Return the growth along the frames, from the start of the model.

    The first quarter of the frames is not counted, because the direction of growth is only found there.

    Raises `LearningError` for a difference that is NaN or infinite.
    """
    point, logs = step.start, []
    direction = rng.standard_normal((step.S, 1))
    for number, frame in enumerate(frames[:_MOST_FRAMES], 1):
        tell(number, min(len(frames), _MOST_FRAMES))
        feeds = step.feeds(frame)
        direction, _ = step.along(point, feeds, direction / np.linalg.norm(direction))
        point, _ = step.run(point, feeds)
        size = float(np.linalg.norm(direction))
        if not np.isfinite(size):
            raise LearningError(
                "the growth of a difference between two states cannot be measured, because it is NaN or infinite in"
                f" frame {number - 1}"
            )
        logs.append(np.log(size) if size > 0 else -np.inf)
        if size == 0:
            break
    counted = np.array(logs[len(logs) // 4 :])
    width = min(_BLOCK, len(counted))
    sums = np.concatenate([[0.0], np.cumsum(counted)])
    blocks = (sums[width:] - sums[:-width]) / width if np.isfinite(sums).all() else np.array([-np.inf])
    mean = float(counted.mean())
    half_life = 0.0 if mean == -np.inf else float(np.log(2) / -mean) if mean < 0 else np.inf
    verdict = "stays" if abs(mean) < _STAYS else "vanishes" if mean < 0 else "explodes"
    least, most = (float(np.exp(f(blocks))) for f in (np.min, np.max))
    return Growth(float(np.exp(mean)), least, most, half_life, len(counted), verdict)


def _spectral(columns: Array) -> float:
    """Return the largest singular value, from the eigenvalues of the Gram matrix, in a third of the time of an SVD.

    Columns are scaled first, because the squares of small numbers underflow.
    """
    scale = float(np.abs(columns).max(initial=0.0))
    if scale == 0 or not np.isfinite(scale):
        return scale
    scaled = columns / scale
    gram = scaled.T @ scaled if scaled.shape[0] >= scaled.shape[1] else scaled @ scaled.T
    return scale * float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0)))


def _frobenius(columns: Array) -> float:
    return float(np.linalg.norm(columns) / np.sqrt(max(columns.shape[1], 1)))
