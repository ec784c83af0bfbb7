"""The data of `fastgru adapt`: arrays with targets from .npz files, or a text in the model's alphabet."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import numpy as np

from fastgru.arrays import Array
from fastgru.cli.arrays import fit, read_arrays
from fastgru.cli.forms import Cutting, Form, Pairs, form_of, timed_of
from fastgru.cli.texts import pairs_of_text
from fastgru.errors import DataError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.spec import RECURRENT, spec_of

__all__ = ["read_pairs"]

_MORE: Final = ("targets", "mask", "lengths", "reset")


def read_pairs(path: Path, held: Path | None, graph: Graph, output: str | None, cutting: Cutting) -> Pairs:
    """Return the pairs of a file, with held-out pairs from the file `held` or from the end of the data.

    Raises `DataError` and `click.UsageError` naming the file and the fault, `UnsupportedModelError` for a model with
    several inputs.
    """
    form = form_of(graph, output)
    if path.suffix.lower() == ".txt":
        return pairs_of_text(path, held, graph, form, cutting)
    if path.suffix.lower() != ".npz":
        raise click.UsageError(
            f"--data {path}: expected an .npz file with {form.spec.name} and targets, or a .txt file"
        )
    return _of_arrays(path, held, graph, form, cutting)


class _Set(NamedTuple):
    x: Array
    targets: Array
    mask: Array | None
    reset: Array | None

    def pair(self) -> tuple[Any, ...]:
        return (self.x, self.targets) if self.mask is None else (self.x, self.targets, self.mask)


def _of_arrays(path: Path, held: Path | None, graph: Graph, form: Form, cutting: Cutting) -> Pairs:
    whole, timed = _read_set(path, graph, form)
    apart = None
    if held is not None:
        apart, _ = _read_set(held, graph, form)
    elif cutting.held_out:
        whole, apart = _hold_out(path, whole, form, cutting.held_out, timed=timed)
    if apart is not None and apart.reset is not None:
        raise DataError(
            f"{held or path}: data with reset cannot be held out in part; give --held-out 0, or a file without"
        )
    count = whole.x.shape[form.rows]
    batch = min(cutting.batch or 32, count)
    cuts = range(0, count, batch)
    sets = [_rows(whole, form, timed=timed, rows=slice(first, first + batch)) for first in cuts]
    facts = {"rows": count, "held_out_rows": 0 if apart is None else apart.x.shape[form.rows], "batch": batch}
    facts |= {"steps": whole.x.shape[1 - form.rows], "window": cutting.window}
    resets = None if whole.reset is None else [s.reset for s in sets if s.reset is not None]
    classes = whole.targets.dtype.kind in "iu"
    return Pairs([s.pair() for s in sets], resets, None if apart is None else apart.pair(), facts, classes)


def _read_set(path: Path, graph: Graph, form: Form) -> tuple[_Set, bool]:
    arrays = read_arrays(path)
    name = form.spec.name
    known = (name, *_MORE)
    if missing := [each for each in (name, "targets") if each not in arrays]:
        raise DataError(
            f"{path}: there is no {' and no '.join(missing)} in it; it has {', '.join(arrays) or 'nothing'}"
        )
    if unknown := [each for each in arrays if each not in known]:
        states = [each for each in unknown if each in graph.states]
        said = f"; states begin from zeros: {', '.join(states)}" if states else ""
        raise DataError(f"{path}: got {', '.join(unknown)}, expected {', '.join(known)}{said}")
    rank = len(form.spec.shape) if form.spec.shape is not None else None
    lifted = rank is not None and arrays[name].ndim == rank - 1
    x = fit(arrays[name], form.spec, graph)
    rows = min(form.rows, x.ndim - 1)
    if lifted and x.ndim == rank:
        arrays = {n: np.expand_dims(a, min(rows, a.ndim)) for n, a in arrays.items() if n != "lengths"} | {
            n: a.reshape(1) for n, a in arrays.items() if n == "lengths"
        }
    if x.ndim < 2 or 0 in x.shape:
        raise DataError(f"{path}: {name} has shape {x.shape}, expected sequences, a batch of them")
    targets = arrays["targets"]
    timed = timed_of(graph, form, x)
    expected = x.shape[:2] if timed else (x.shape[rows],)
    if targets.shape[: len(expected)] != expected:
        raise DataError(
            f"{path}: targets has shape {targets.shape}, expected {expected} on its first axes, as {name} has {x.shape}"
        )
    mask = arrays.get("mask")
    if "lengths" in arrays:
        mask = _within(path, arrays["lengths"], x, rows, graph, mask)
    reset = arrays.get("reset")
    for what, a in (("mask", mask), ("reset", reset)):
        if a is not None and (a.dtype != np.bool_ or a.shape != x.shape[:2]):
            raise DataError(f"{path}: {what} is {a.dtype} {a.shape}, expected bool {x.shape[:2]}")
    if targets.dtype.kind == "f" or targets.dtype.kind in "iu":
        return _Set(x, targets, mask, reset), timed
    raise DataError(f"{path}: targets is {targets.dtype}, expected integers (classes) or floats")


def _within(path: Path, lengths: Array, x: Array, rows: int, graph: Graph, mask: Array | None) -> Array:
    """Return a mask of the steps that count. Refuse layers that go backward, which would read past the end of a row."""
    N, T = x.shape[rows], x.shape[1 - rows]
    if lengths.shape != (N,) or lengths.dtype.kind not in "iu" or not 0 <= lengths.min() <= lengths.max() <= T:
        raise DataError(f"{path}: lengths is {lengths.tolist()}, expected {N} integers from 0 to {T}")
    if any(spec_of(n.op, n.attrs).direction != "forward" for n in graph.nodes if n.op in RECURRENT):
        raise UnsupportedModelError(
            f"{path}: lengths: a layer of the model goes backward, and would begin behind the end of a row; give"
            " sequences of one length"
        )
    within = np.arange(T) < lengths[:, None]
    within = within if rows == 0 else within.T
    return within if mask is None else within & mask


def _hold_out(path: Path, whole: _Set, form: Form, share: float, *, timed: bool) -> tuple[_Set, _Set]:
    """Split off the last rows, or the last steps of all rows if there are too few rows."""
    N, T = whole.x.shape[form.rows], whole.x.shape[1 - form.rows]
    if (count := math.floor(N * share + 0.5)) and count < N:
        some = (slice(0, N - count), slice(N - count, N))
        first, last = (_rows(whole, form, timed=timed, rows=each) for each in some)
        return first, last
    count = round(T * share)
    if not timed or not 0 < count < T:
        raise DataError(
            f"{path}: {N} rows of {T} steps are too few to hold out {share:g} of them; give --held-out 0, or a file"
        )
    cut = [slice(None)] * 2
    parts = []
    for each in (slice(0, T - count), slice(T - count, T)):
        cut[1 - form.rows] = each
        at = tuple(cut)
        parts.append(_Set(*(None if a is None else a[at] for a in whole)))  # type: ignore[arg-type]
    return parts[0], parts[1]


def _rows(whole: _Set, form: Form, *, timed: bool, rows: slice) -> _Set:
    at: tuple[slice, ...] = (rows,) if form.rows == 0 else (slice(None), rows)
    cut: Mapping[str, Array | None] = {n: None if a is None else a[at] for n, a in whole._asdict().items()}
    found = _Set(**cut)  # type: ignore[arg-type]
    return found if timed else found._replace(targets=whole.targets[rows])
