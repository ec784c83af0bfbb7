"""Makes training data from a text, for a model with an alphabet."""

import json
from pathlib import Path
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.cli.forms import Cutting, Form, Pairs, timed_of
from fastgru.errors import DataError, UnsupportedModelError
from fastgru.graph import Graph

__all__ = ["pairs_of_text", "read_alphabet", "read_text"]

_ROWS: Final = 16  # without --batch, if the text is long enough


def pairs_of_text(path: Path, held: Path | None, graph: Graph, form: Form, cutting: Cutting) -> Pairs:
    """Return pairs from stretches of a text; the targets are the next characters.

    Raises `DataError` for a text that does not fit, `UnsupportedModelError` for a model that does not read or return
    characters.
    """
    alphabet = _alphabet(graph, form)
    ids, skipped = read_text(path, alphabet, skip_unknown=cutting.skip_unknown)
    apart, more = None, 0
    if held is not None:
        apart, more = read_text(held, alphabet, skip_unknown=cutting.skip_unknown)
    elif cutting.held_out:
        cut = len(ids) - round(len(ids) * cutting.held_out)
        ids, apart = ids[:cut], ids[cut:]
    window = cutting.window
    assert window is not None  # a text always has one
    if len(ids) <= window:
        raise DataError(
            f"{path}: {len(ids)} characters to learn from, expected at least {window + 1}, one more than a window;"
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
    if not timed_of(graph, form, x[0]):
        raise UnsupportedModelError(
            f"{path}: output {form.output!r} has one place a sequence, and a text has a next character at every step;"
            " give .npz data"
        )
    few = None if apart is None else _stretched(apart, min(rows, max(1, (len(apart) - 1) // window)), form)
    return Pairs([x], None, few, {**facts, "rows": rows, "window": window}, True)


def read_alphabet(text: str | None, suffix: str) -> str:
    """Return the characters of an alphabet in the metadata of a model: a JSON string, or the characters themselves.

    suffix: of the files that the command takes instead of a text.

    Raises `UnsupportedModelError` if there is no alphabet, `DataError` if this is not one.
    """
    if text is None:
        raise UnsupportedModelError(
            "the model has no alphabet in its metadata, so that a text cannot become its inputs;"
            f' give {suffix} data, or set meta["alphabet"] of the graph to the JSON string of the characters in the'
            " order of their ids"
        )
    try:
        alphabet = json.loads(text)
    except ValueError:
        alphabet = text
    if not isinstance(alphabet, str) or len(set(alphabet)) != len(alphabet) or not alphabet:
        raise DataError(f"the model's alphabet is {text!r}, expected a string of characters, each once")
    return alphabet


def _alphabet(graph: Graph, form: Form) -> str:
    alphabet = read_alphabet(form.alphabet, ".npz")
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


def read_text(path: Path, alphabet: str, *, skip_unknown: bool) -> tuple[Array, int]:
    """Return ids (n,), and the number of characters that were left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8, expected a text in UTF-8") from None
    if not text:
        raise DataError(f"{path}: the file is empty, expected a text")
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


def _stretched(ids: Array, rows: int, form: Form) -> tuple[Array, Array, Array]:
    """Cut a text into `rows` consecutive stretches, and return (x, targets, mask). The last stretch may be shorter."""
    each = -(-(len(ids) - 1) // rows)
    padded = np.zeros(rows * each + 1, np.int64)
    padded[: len(ids)] = ids
    counts = (np.arange(rows * each) < len(ids) - 1).reshape(rows, each)
    arrays = padded[:-1].reshape(rows, each), padded[1:].reshape(rows, each), counts
    return arrays if form.rows == 0 else tuple(a.T for a in arrays)  # type: ignore[return-value]
