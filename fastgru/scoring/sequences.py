"""Makes sequences of rows: consecutive rows with the same id, or single rows that hold lists."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from fastgru.errors import DataError, ShapeError
from fastgru.graph import Array, shape_text
from fastgru.scoring.csvrows import check_separator
from fastgru.scoring.sources import ARRAYS, arrays, batches
from fastgru.scoring.sources import labels as labels_of

__all__ = ["Input", "Record", "records", "refused"]


class Input(NamedTuple):
    """An input of the model. rest: the sizes of one step, None for a free one. columns: its columns in the table; empty
    for all columns that are not ids.
    """

    name: str
    dtype: str
    rest: tuple[int | None, ...]
    columns: tuple[str, ...]


class Record(NamedTuple):
    """A sequence.

    ids: its values in the id columns, in their order. first, rows: its rows in the data set.
    arrays: one (T, ...) for each input, or None if there is a fault. fault: why, or "". at: the row of the fault.
    key: a hash that distinguishes ids. stepwise: whether each row is a step.
    """

    ids: tuple[Any, ...]
    first: int
    rows: int
    arrays: tuple[Array, ...] | None
    fault: str
    at: int = 0
    key: int = 0
    stepwise: bool = False


class _Rows(NamedTuple):
    """Consecutive rows of one batch that have the same id."""

    ids: tuple[Any, ...]
    first: int
    arrays: tuple[Array, ...]
    faults: dict[int, str]


def records(
    files: Sequence[Path],
    inputs: Sequence[Input],
    ids: Sequence[str],
    *,
    frames: bool | None,
    skip: int,
    seen: set[int],
) -> Iterator[Record]:
    """Yield the sequences from row `skip` on, where a sequence begins.

    frames: whether rows are single steps; None to find out from the first values of the files.
    seen: the keys of earlier sequences.

    Raises `DataError` for a column that does not exist, and for rows of one id that do not follow one another.
    """
    if files[0].suffix.lower() in ARRAYS:
        yield from _of_arrays(files, inputs, skip)
        return
    frames = _are_steps(files, inputs, ids) if frames is None else frames
    pending, seen = list[_Rows](), set(seen)  # a copy, because a second attempt needs the keys as they were passed
    torn_rows = list[_Rows]()  # torn rows, each of which may belong to the sequence before or after it, or to none
    for first, batch, torn in batches(files, skip):
        faults = {row: each.fault for row, each in torn.items()}
        chosen, cells = _read(files, batch, first, inputs, ids)
        for found in cells.values():
            for row, fault in found[1].items():
                faults.setdefault(row, fault)
        labels = [labels_of(batch.column(name), batch.schema.field(name)) for name in ids]
        for name, column in zip(ids, labels, strict=True):
            for row, each in torn.items():
                column[row - first] = each.names.get(name)
        if not frames:
            yield from _of_rows(first, batch.num_rows, inputs, chosen, cells, labels, faults)
            continue
        if not ids:
            raise DataError("each row is one step: name the columns that tell which rows make a sequence (--id)")
        parts = [
            _steps(entry, names, [cells[name][0] for name in names], first, faults)
            for entry, names in zip(inputs, chosen, strict=True)
        ]
        for row in range(batch.num_rows):
            if any(column[row] is None for column in labels):
                faults.setdefault(first + row, "the id is null")
        for begin, end in pairwise(_borders(labels, batch.num_rows, {row - first for row in torn})):
            key = tuple(column[begin] for column in labels)
            of = {row: fault for row, fault in faults.items() if first + begin <= row < first + end}
            found_rows = _Rows(key, first + begin, tuple(part[begin:end] for part in parts), of)
            if None in key or (first + begin in torn and not (pending and pending[-1].ids == key)):
                torn_rows.append(found_rows)
                continue
            if pending and pending[-1].ids != key:
                yield _joined(pending, seen)
                pending = []
            if not pending:
                mine = next((i for i, each in enumerate(torn_rows) if each.ids == key), len(torn_rows))
                yield from (_alone(each) for each in torn_rows[:mine])
                del torn_rows[:mine]
            pending += [each._replace(ids=key) for each in torn_rows]
            pending.append(found_rows)
            torn_rows = []
    if pending:
        yield _joined(pending, seen)
    yield from map(_alone, torn_rows)


def refused(error: ShapeError, row: int) -> DataError:
    """Convert an error of `predict`, which counts sequences from the one that begins with this row."""
    return DataError(f"{error} (sequences are counted from row {row}, without faulty ones)")


def _are_steps(files: Sequence[Path], inputs: Sequence[Input], ids: Sequence[str]) -> bool:
    """Return whether rows are single steps. The first values of the files tell it, whichever rows are read."""
    for first, batch, _ in batches(files, 0):
        chosen, cells = _read(files, batch, first, inputs, ids)
        deep = max((found[2] for found in cells.values() if found[2] is not None), default=None)
        if deep is not None:
            single = deep == 1 and all(len(names) == 1 for names in chosen) and all(entry.rest for entry in inputs)
            return deep == 0 or (single and bool(ids))
    return bool(ids)


def _read(
    files: Sequence[Path], batch: Any, first: int, inputs: Sequence[Input], ids: Sequence[str]
) -> tuple[list[Sequence[str]], dict[str, "_Column"]]:
    """Return the columns of each input, and their cells by name. first: the number of the first row."""
    chosen = _chosen(batch.schema.names, inputs, ids, files[0].suffix.lower() == ".csv")
    return chosen, {name: _cells(name, batch.column(name), first) for names in chosen for name in names}


def _of_arrays(files: Sequence[Path], inputs: Sequence[Input], skip: int) -> Iterator[Record]:
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs)
        raise DataError(f"arrays can be sequences of one input only, but the model has {names}: give a table instead")
    for row, (name, array) in enumerate(arrays(files)):
        if row < skip:
            continue
        try:
            yield Record((name,), row, 1, (_fitted(inputs[0], array),), "")
        except ValueError as error:
            yield Record((name,), row, 1, None, str(error), row)


def _of_rows(
    first: int,
    count: int,
    inputs: Sequence[Input],
    chosen: Sequence[Sequence[str]],
    cells: Mapping[str, "_Column"],
    labels: Sequence[Sequence[Any]],
    faults: Mapping[int, str],
) -> Iterator[Record]:
    """Yield each row as a sequence: lists of steps in one column, or side by side in several columns."""
    for row in range(count):
        key, found, fault = tuple(column[row] for column in labels), list[Array](), faults.get(first + row, "")
        try:
            for entry, names in zip(inputs, chosen, strict=True):
                if fault:
                    break
                columns = [_numbers(cells[name][0][row]) for name in names]
                if len({len(column) if column.ndim else -1 for column in columns}) > 1:
                    raise ValueError(f"the lists in {', '.join(names)} have different lengths")
                found.append(_fitted(entry, columns[0] if len(columns) == 1 else np.stack(columns, -1), names))
        except ValueError as error:
            fault = str(error)
        yield Record(key, first + row, 1, None if fault else tuple(found), fault, first + row)


def _alone(rows: _Rows) -> Record:
    """Return the record of rows that belong to no known sequence."""
    count, row = len(rows.arrays[0]), min(rows.faults)
    return Record(tuple(None for _ in rows.ids), rows.first, count, None, rows.faults[row], row, 0, True)


def _joined(pending: Sequence[_Rows], seen: set[int]) -> Record:
    """Return the rows of one id as a sequence. A fault of a row is a fault of the sequence."""
    ids, first = pending[0].ids, pending[0].first
    rows, key = sum(len(piece.arrays[0]) for piece in pending), 0
    if None not in ids:
        key = int.from_bytes(hashlib.blake2b(repr(ids).encode(), digest_size=8).digest())
        if key in seen:
            again = f"sequence {', '.join(map(repr, ids))} comes again"
            raise DataError(f"row {first} (the first is 0): {again}; the rows of a sequence must follow one another")
        seen.add(key)
    faults = {row: fault for piece in pending for row, fault in piece.faults.items()}
    if faults:
        row = min(faults)
        return Record(ids, first, rows, None, faults[row], row, key, True)
    for each in zip(*(piece.arrays for piece in pending), strict=True):
        if len(sizes := {array.shape[1:]: None for array in each}) > 1:
            told = " and ".join(map(str, sizes))
            return Record(ids, first, rows, None, f"its steps have different shapes: {told}", first, key, True)
    arrays = tuple(np.concatenate(each) for each in zip(*(piece.arrays for piece in pending), strict=True))
    return Record(ids, first, rows, arrays, "", 0, key, True)


def _borders(labels: Sequence[Sequence[Any]], count: int, torn: set[int]) -> list[int]:
    """Return the rows where sequences begin, and the end. A torn row or one without an id stands alone."""
    keys = list(zip(*labels, strict=True))
    apart = {row for row in range(count) if row in torn or None in keys[row]}
    return [0, *(r for r in range(1, count) if keys[r] != keys[r - 1] or r in apart or r - 1 in apart), count]


def _chosen(names: Sequence[str], inputs: Sequence[Input], ids: Sequence[str], is_csv: bool) -> list[Sequence[str]]:
    """Return the columns of each input. Raises `DataError` for columns that do not exist."""
    others = [name for name in names if name not in ids]
    chosen: list[Sequence[str]] = [entry.columns or others for entry in inputs]
    if is_csv and not {*ids, *(name for entry in inputs for name in entry.columns)} & {*names}:
        check_separator(names)
    if missing := [name for columns in (ids, *chosen) for name in columns if name not in names]:
        raise DataError(f"the data has no column {', '.join(missing)}; its columns are {', '.join(names)}")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"the data has several columns with the name {', '.join(twice)}")
    if not all(chosen):
        raise DataError("the data has no columns besides those of --id")
    return chosen


_Column: TypeAlias = tuple[Any, dict[int, str], int | None]


def _cells(name: str, column: Any, first: int) -> _Column:
    """Return the values of a column, the fault of each faulty row, and how deep its lists are nested.

    Numbers become an array; others stay a list. The depth is None if no value of the column tells it.
    """
    import pyarrow as pa

    faults = {first + int(row): f"{name} is null" for row in np.flatnonzero(column.is_null())}
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if pa.types.is_null(column.type) or (is_text and column.null_count == len(column)):
        return column.to_pylist(), faults, None
    if is_text:
        try:
            column = column.cast(pa.float64())
        except pa.ArrowInvalid:
            values = [
                None if text is None else _parsed(text, name, first + row, faults)
                for row, text in enumerate(column.to_pylist())
            ]
            deep = max((_depth(value) for value in values if value is not None), default=None)
            return (np.array([np.nan if v is None else v for v in values]) if deep == 0 else values), faults, deep
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
        empty = column.fill_null(0) if column.null_count else column
        return empty.to_numpy(zero_copy_only=False), faults, 0
    deep, kind = 0, column.type
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        deep, kind = deep + 1, kind.value_type
    numeric = (pa.types.is_null, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    if not deep or not any(is_it(kind) for is_it in numeric):
        raise DataError(f"column {name!r}: got {column.type}, expected numbers or lists of numbers")
    return column.to_pylist(), faults, deep


def _parsed(text: str, name: str, row: int, faults: dict[int, str]) -> Any:
    """Parse a cell of text: a number, or lists of numbers in JSON."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        value = json.loads(text)
        array = np.array(value, np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError):
        faults.setdefault(row, f"{name}: expected a number, got {text[:40]!r}")
        return None
    return value if array.ndim else float(array)


def _depth(value: Any) -> int:
    return 1 + max((_depth(entry) for entry in value[:1]), default=0) if isinstance(value, list) else 0


def _steps(entry: Input, names: Sequence[str], columns: Sequence[Any], first: int, faults: dict[int, str]) -> Array:
    """Return the rows of a batch as steps of an input, (n, ...). A row that does not fit becomes zeros and a fault."""
    if len(columns) == 1 and isinstance(columns[0], list):
        found = _steps_of_lists(entry, columns[0], first, faults)
    else:
        found = np.stack([_plain(*each, first, faults) for each in zip(names, columns, strict=True)], -1)
    shape = tuple(n or found.shape[1] for n in entry.rest)
    if math.prod(shape) != found.shape[1]:
        wanted = " x ".join("?" if n is None else str(n) for n in entry.rest) or "1"
        raise DataError(f"input {entry.name!r} takes {wanted} values a step, but the columns have {found.shape[1]}")
    cast, reasons = _cast(entry, found)
    for row in np.flatnonzero(reasons.any(-1)).tolist():
        faults.setdefault(first + row, _reason(entry, reasons[row], names))
    return cast.reshape(len(found), *shape)


def _steps_of_lists(entry: Input, column: Sequence[Any], first: int, faults: dict[int, str]) -> Array:
    """Return the steps (n, width) of rows that hold a list, or a number."""
    sizes = [len(value) if isinstance(value, list) else int(value is not None) for value in column]
    there = [size for size in sizes if size]
    width = math.prod(n or 0 for n in entry.rest) or max(there, key=there.count, default=1)
    rows = []
    for row, value in enumerate(column):
        try:
            rows.append(_numbers(value).reshape(width))
        except ValueError:
            faults.setdefault(first + row, f"expected {width} numbers, got {sizes[row]}")
            rows.append(np.zeros(width, np.int64))
    return np.stack(rows)


def _plain(name: str, column: Any, first: int, faults: dict[int, str]) -> Array:
    """Return the numbers (n,) of a column. A list is a fault of its row."""
    if not isinstance(column, list):
        return np.asarray(column)
    for row, value in enumerate(column):
        if isinstance(value, list):
            faults.setdefault(first + row, f"{name}: expected a number, got {json.dumps(value)[:40]!r}")
    return np.array([0 if value is None or isinstance(value, list) else value for value in column])


def _numbers(value: Any) -> Array:
    """Return lists of numbers as an array. Raises `ValueError` for lists of different lengths and for null."""
    array = np.array(value)  # raises for lists of different lengths
    if array.dtype.kind not in "biuf":
        raise ValueError("expected numbers, or lists of equal lengths")
    return array


def _fitted(entry: Input, array: Array, names: Sequence[str] = ()) -> Array:
    """Return a whole sequence as the model takes it. names: its columns, if it has any. Raises `ValueError`."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"got {array.dtype}, expected numbers")
    if array.ndim == len(entry.rest) + 2 and array.shape[1] == 1:
        raise ValueError(f"got shape {array.shape}, expected {shape_text(('T', *entry.rest))}, without a batch")
    if array.ndim == 1 and entry.rest in ((1,), (None,)):
        array = array[:, None]
    fits = array.ndim == 1 + len(entry.rest) and all(
        n in (None, m) for n, m in zip(entry.rest, array.shape[1:], strict=True)
    )
    if not fits or not len(array):
        raise ValueError(f"got shape {array.shape}, expected {shape_text(('T', *entry.rest))}")
    cast, reasons = _cast(entry, array)
    if reasons.any():
        raise ValueError(_reason(entry, reasons, names))
    return cast


_REASONS: Final = ("", "a value{} is no number that {} holds", "a value{} is not finite")


def _reason(entry: Input, reasons: Array, names: Sequence[str]) -> str:
    """The worst of the reasons, with the name of its column."""
    column = int(reasons.argmax()) % reasons.shape[-1] if len(names) > 1 else 0
    return _REASONS[reasons.max()].format(f" of {names[column]}" if names else "", entry.dtype)


def _cast(entry: Input, array: Array) -> tuple[Array, Array]:
    """Return the array as the model takes it, with zeros for numbers that cannot be cast, and the place of each number
    in `_REASONS`.

    A float is rounded to a float. An integer must keep its value; a float of 2^53 or more may stand for another integer
    and is refused.
    """
    dtype, finite = np.dtype(entry.dtype), np.isfinite(array)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = np.where(finite, array, 0).astype(dtype)
        held = np.isfinite(cast)
    else:
        info = np.iinfo(dtype) if dtype.kind in "iu" else np.iinfo(np.uint8)
        limit = 2.0**53 if array.dtype.kind == "f" else math.inf
        low, high = (info.min, info.max) if dtype.kind in "iu" else (0, 1)
        held = finite & (array >= low) & (array <= high) & (np.abs(array) < limit)
        cast = np.where(held, array, 0).astype(dtype)
        held &= cast == array
    return np.where(held, cast, 0).astype(dtype), np.where(finite, np.where(held, 0, 1), 2)
