"""What a model is adapted to: arrays with targets from .npz files, or a text in the model's alphabet."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from fastgru.arrays import Array
from fastgru.cli.arrays import fit, read_arrays
from fastgru.errors import DataError, UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.learn.network import output_of, time_axis_of
from fastgru.spec import RECURRENT, spec_of
from fastgru.verify.roles import AxisRoles

__all__ = ["Cutting", "Pairs", "read_pairs"]

_ROWS = 16  # of a text, where nothing is said and it is long enough
_MORE = ("targets", "mask", "lengths", "reset")


class Cutting(NamedTuple):
    """batch: rows that learn together, None for a choice by the data; window: steps of a text; held_out: the last share
    of the data, from 0 to less than 1; skip_unknown: leave out characters that the alphabet does not have."""

    batch: int | None
    window: int | None
    held_out: float
    skip_unknown: bool


class Pairs(NamedTuple):
    """data, reset, held_out: as `fastgru.learn.fit` takes them. facts: how much there is, for people and programs.
    classes: whether the targets are classes."""

    data: list[tuple[Any, ...]]
    reset: list[Array] | None
    held_out: tuple[Any, ...] | None
    facts: dict[str, Any]
    classes: bool


class _Form(NamedTuple):
    """What the graph reads and gives: its only input that is no state, which axis of it is the batch, and whether its
    output has steps."""

    spec: TensorSpec
    rows: int
    output: str
    alphabet: str | None


def read_pairs(path: Path, held: Path | None, graph: Graph, output: str | None, cutting: Cutting) -> Pairs:
    """The pairs of a file, and those held out: of the file `held`, or the last share of the data.

    Raises `DataError` and `click.UsageError` naming the file and what does not fit, `UnsupportedModelError` for a model
    with several inputs.
    """
    form = _form(graph, output)
    if path.suffix.lower() == ".txt":
        return _of_text(path, held, graph, form, cutting)
    if path.suffix.lower() != ".npz":
        raise click.UsageError(
            f"--data {path}: expected an .npz file with {form.spec.name} and targets, or a .txt file"
        )
    return _of_arrays(path, held, graph, form, cutting)


def _form(graph: Graph, output: str | None) -> _Form:
    inputs = [spec for spec in graph.inputs if spec.name not in graph.states]
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs) or "none"
        raise UnsupportedModelError(
            f"the model has the inputs {names} besides its states, and one is what can be adapted; load a part of it"
            " that has one (--inputs), or use fastgru.learn.gradients in Python"
        )
    rows = AxisRoles(graph).axis_of(inputs[0].name, "N")
    if rows is None:
        layers = [spec_of(n.op, n.attrs) for n in graph.nodes if n.op in RECURRENT]
        rows = 0 if not layers or layers[0].batch_first else 1
    return _Form(inputs[0], rows, output_of(graph, output), graph.meta.get("alphabet"))


def _timed(graph: Graph, form: _Form, x: Array) -> bool:
    return time_axis_of(graph, form.output, {form.spec.name: x}) is not None


# Texts.


def _of_text(path: Path, held: Path | None, graph: Graph, form: _Form, cutting: Cutting) -> Pairs:
    alphabet = _alphabet(graph, form)
    ids, skipped = _read_text(path, alphabet, skip_unknown=cutting.skip_unknown)
    apart, more = None, 0
    if held is not None:
        apart, more = _read_text(held, alphabet, skip_unknown=cutting.skip_unknown)
    elif cutting.held_out:
        cut = len(ids) - round(len(ids) * cutting.held_out)
        ids, apart = ids[:cut], ids[cut:]
    window = cutting.window or len(ids) - 1
    needed = window + 1
    if len(ids) < needed or len(ids) < 2:
        raise DataError(
            f"{path}: {len(ids)} characters to learn from, expected at least {max(needed, 2)}, one more than a window;"
            " give a longer text, or a smaller --window"
        )
    rows = min(cutting.batch or _ROWS, (len(ids) - 1) // window)
    if cutting.batch is not None and rows < cutting.batch:
        raise DataError(
            f"{path}: {len(ids)} characters to learn from, expected at least {cutting.batch * window + 1} for"
            f" {cutting.batch} rows of a window of {window}; give a smaller --batch or --window"
        )
    if apart is not None and len(apart) < 2:
        raise DataError(
            f"{held or path}: {len(apart)} characters are held out, expected at least 2; --held-out 0 for none"
        )
    facts = {
        "characters": len(ids),
        "held_out_characters": 0 if apart is None else len(apart),
        "skipped": skipped + more,
    }
    x = _stretched(ids, rows, form)
    if not _timed(graph, form, x[0]):
        raise UnsupportedModelError(
            f"{path}: output {form.output!r} has one place a sequence, and a text has a next character at every step;"
            " give .npz data"
        )
    few = None if apart is None else _stretched(apart, min(rows, max(1, (len(apart) - 1) // window)), form)
    return Pairs([x], None, few, {**facts, "rows": rows, "window": window}, True)


def _alphabet(graph: Graph, form: _Form) -> str:
    if form.alphabet is None:
        raise UnsupportedModelError(
            "the model has no alphabet in its metadata, so that a text cannot become its inputs; give .npz data, or set"
            ' meta["alphabet"] of the graph to the JSON string of the characters in the order of their ids'
        )
    try:
        alphabet = json.loads(form.alphabet)
    except ValueError:
        alphabet = form.alphabet
    if not isinstance(alphabet, str) or len(set(alphabet)) != len(alphabet) or not alphabet:
        raise DataError(f"the model's alphabet is {form.alphabet!r}, expected a string of characters, each once")
    if not form.spec.dtype.startswith(("int", "uint")) or len(form.spec.shape or ()) != 2:
        raise UnsupportedModelError(
            f"input {form.spec.name!r} is {form.spec.dtype} {form.spec.shape}, expected ids of characters by row and"
            " step; give .npz data"
        )
    classes = next((s.shape[-1] for s in graph.outputs if s.name == form.output and s.shape), None)
    if classes is not None and classes != len(alphabet):
        raise DataError(
            f"output {form.output!r} has {classes} classes, expected {len(alphabet)}, one a character of the alphabet"
        )
    return alphabet


def _read_text(path: Path, alphabet: str, *, skip_unknown: bool) -> tuple[Array, int]:
    """Ids (n,), and how many characters were left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8, expected a text in UTF-8") from None
    if not text:
        raise DataError(f"{path}: it is empty, expected a text")
    places = {character: i for i, character in enumerate(alphabet)}
    ids = np.array([places.get(character, -1) for character in text], np.int64)
    unknown = sorted({text[i] for i in np.flatnonzero(ids < 0)})
    if unknown and not skip_unknown:
        first = int(np.argmax(ids < 0))
        shown = ", ".join(map(repr, unknown[:20])) + (", ..." if len(unknown) > 20 else "")
        raise DataError(
            f"{path}: {int((ids < 0).sum())} characters are not in the model's alphabet {alphabet.strip()!r}: {shown};"
            f" the first is in line {text.count(chr(10), 0, first) + 1}; --skip-unknown leaves them out"
        )
    return ids[ids >= 0], int((ids < 0).sum())


def _stretched(ids: Array, rows: int, form: _Form) -> tuple[Array, Array, Array]:
    """(x, targets, mask) of a text in `rows` stretches, each behind the other; the last may end before the others."""
    each = -(-(len(ids) - 1) // rows)
    padded = np.zeros(rows * each + 1, np.int64)
    padded[: len(ids)] = ids
    counts = (np.arange(rows * each) < len(ids) - 1).reshape(rows, each)
    arrays = padded[:-1].reshape(rows, each), padded[1:].reshape(rows, each), counts
    return arrays if form.rows == 0 else tuple(a.T for a in arrays)  # type: ignore[return-value]


# Arrays.


class _Set(NamedTuple):
    x: Array
    targets: Array
    mask: Array | None
    reset: Array | None

    def pair(self) -> tuple[Any, ...]:
        return (self.x, self.targets) if self.mask is None else (self.x, self.targets, self.mask)


def _of_arrays(path: Path, held: Path | None, graph: Graph, form: _Form, cutting: Cutting) -> Pairs:
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


def _read_set(path: Path, graph: Graph, form: _Form) -> tuple[_Set, bool]:
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
    timed = _timed(graph, form, x)
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
    """Which steps count. A layer that goes backward would read what is behind the end of a row."""
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


def _hold_out(path: Path, whole: _Set, form: _Form, share: float, *, timed: bool) -> tuple[_Set, _Set]:
    """The last rows; where they are too few, the last steps of all rows."""
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


def _rows(whole: _Set, form: _Form, *, timed: bool, rows: slice) -> _Set:
    at: tuple[slice, ...] = (rows,) if form.rows == 0 else (slice(None), rows)
    cut: Mapping[str, Array | None] = {n: None if a is None else a[at] for n, a in whole._asdict().items()}
    found = _Set(**cut)  # type: ignore[arg-type]
    return found if timed else found._replace(targets=whole.targets[rows])
