"""What is read: Parquet, CSV, lines of JSON and folders of them as batches of rows, arrays of NumPy one by one."""

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from csv import Error, reader
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile

import numpy as np

from fastgru.errors import DataError

__all__ = [
    "ARRAYS", "BATCH_ROWS", "Torn", "arrays", "batches", "check_separator", "files_of", "hash_of", "labels", "types_of",
]  # fmt: skip

BATCH_ROWS: Final = 1 << 14
ARRAYS: Final = (".npy", ".npz")
_JSON: Final = {b"fastgru": b"json"}  # of a column whose values are texts of JSON
_TABLES: Final = (".csv", ".jsonl", ".parquet")
_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def files_of(path: Path) -> list[Path]:
    """The files of an input, which may be a folder of files of one kind, in the order of their names.

    Raises `DataError`.
    """
    if not path.is_dir():
        if path.suffix.lower() not in (*_TABLES, *ARRAYS):
            raise DataError(f"{path}: expected a name that ends in {', '.join((*_TABLES, *ARRAYS))}, or a folder")
        return [path]
    kinds_read = (*_TABLES, *ARRAYS)
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in kinds_read and not p.name.startswith("."))
    kinds = sorted({p.suffix.lower() for p in found})
    if len(kinds) != 1:
        raise DataError(
            f"{path}: got files of {kinds or 'no known kind'}, expected one kind of {', '.join(kinds_read)}"
        )
    return found


def hash_of(files: Sequence[Path]) -> str:
    """Of the names and contents."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def arrays(files: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    """(name, array) of each .npy file, and of each array of an .npz file; objects are never unpickled."""
    for path in files:
        try:
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                yield path.stem, loaded
                continue
            with loaded:
                yield from ((name, loaded[name]) for name in loaded.files)
        except (ValueError, BadZipFile, EOFError) as error:
            raise DataError(f"{path}: {error}") from error


class Torn(NamedTuple):
    """A row that is no row of its file, and is null in the batch. names: what it seems to have in which column."""

    fault: str
    names: Mapping[str, str]


def batches(files: Sequence[Path], skip: int) -> Iterator[tuple[int, Any, dict[int, Torn]]]:
    """(number of the first row, a `pyarrow.RecordBatch`, the rows that are none) from row `skip` on.

    Values of CSV files are text. Raises `DataError` for a file that is none of its kind.
    """
    first = 0
    for path in files:
        read = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}[path.suffix.lower()]
        try:
            for batch, torn in read(path):
                begin = max(skip - first, 0)
                if begin < batch.num_rows:
                    yield first + begin, batch.slice(begin), {first + r: t for r, t in torn.items() if r >= begin}
                first += batch.num_rows
        except DataError:
            raise
        except ValueError as error:  # of pyarrow, too
            after = f" after row {first - 1} (the first is 0):" if first else ""
            raise DataError(f"{path}:{after} {error}") from error


def types_of(files: Sequence[Path], ids: Sequence[str]) -> dict[str, Any]:
    """The types of the id's columns in files of Parquet; of others nothing. Raises `DataError`."""
    if files[0].suffix.lower() != ".parquet" or not ids:
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = []
    for path in files:
        try:
            schema = pq.read_schema(path)
        except ValueError as error:  # of pyarrow, too
            raise DataError(f"{path}: {error}") from error
        kinds = {name: schema.field(name).type for name in ids if schema.names.count(name) == 1}
        values = {n: k.value_type if pa.types.is_dictionary(k) else k for n, k in kinds.items()}
        schemas.append(pa.schema(list(values.items())))
    try:
        return {field.name: field.type for field in pa.unify_schemas(schemas, promote_options="permissive")}
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise DataError(f"a column of --id has different types in the files: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[Any, dict[int, Torn]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            yield batch, {}


def _csv(path: Path) -> Iterator[tuple[Any, dict[int, Torn]]]:
    """A line with too few or too many fields is a row of nulls."""
    import pyarrow as pa
    from pyarrow import csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next((row for row in reader(file) if row), [])
    if not names:
        return
    text = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    waiting = deque[tuple[int, Torn]]()  # those of a block, which comes after them
    with path.open(encoding="latin-1") as lines:  # whose lines also end at a lone CR, as those of pyarrow do
        filled = (number for number, line in enumerate(lines, 1) if line.strip("\n"))
        passed = 0

        def tear(row: Any) -> str:
            nonlocal passed
            line = next(islice(filled, row.number - passed - 1, None), row.number)
            passed = row.number
            fault = f"line {line}: expected {row.expected_columns} fields, got {row.actual_columns}: {row.text[:80]!r}"
            waiting.append((row.number - 2, Torn(fault, dict(zip(names, _fields(row.text), strict=False)))))
            return "skip"

        # A row has a number where threads do not read it; they make this no faster.
        one, rows = csv.ReadOptions(use_threads=False), csv.ParseOptions(invalid_row_handler=tear)
        first = 0
        with csv.open_csv(path, read_options=one, parse_options=rows, convert_options=text) as opened:
            for batch in opened:
                whole, torn = _mended(batch, first, waiting)
                yield whole, torn
                first += whole.num_rows
            if waiting and not first:
                check_separator(names)
                raise DataError(f"{path}: no line has the fields of the first; {waiting[0][1].fault}")
            if waiting:
                yield _mended(pa.RecordBatch.from_pylist([], opened.schema), first, waiting)


def check_separator(names: Sequence[str]) -> None:
    """Raise `DataError` if the only name in the first line of a CSV file seems to be several."""
    found = [word for mark, word in _SEPARATORS.items() if len(names) == 1 and mark in names[0]]
    if found:
        raise DataError(
            f"the fields of a CSV file must be separated by commas, but its first line has {found[0]}: {names[0]!r:.80}"
        )


def _mended(batch: Any, first: int, waiting: deque[tuple[int, Torn]]) -> tuple[Any, dict[int, Torn]]:
    """The batch, which begins with row `first`, and in it the rows that wait for their places."""
    import pyarrow as pa

    if not waiting:
        return batch, {}
    places, torn, count = list[int | None](), dict[int, Torn](), 0
    while count < batch.num_rows or (waiting and waiting[0][0] == first + len(places)):
        if waiting and waiting[0][0] == first + len(places):
            torn[len(places)] = waiting.popleft()[1]
            places.append(None)
        else:
            places.append(count)
            count += 1
    return batch.take(pa.array(places, pa.int64())), torn


def _fields(line: str) -> list[str]:
    try:
        return next(reader([line]), [])
    except Error:
        return []


def _jsonl(path: Path) -> Iterator[tuple[Any, dict[int, Torn]]]:
    """A column that some lines do not have is null there, once any line before them had it."""
    import pyarrow as pa

    names: dict[str, None] = {}
    with path.open("rb") as file:
        while lines := [line for _, line in zip(range(BATCH_ROWS), file, strict=False)]:
            rows, torn = list[dict[str, Any]](), dict[int, Torn]()
            for number, line in enumerate(lines):
                try:
                    rows.append(_object(line))
                except (ValueError, RecursionError) as error:
                    rows.append({})
                    torn[number] = Torn(f"no JSON: {str(error)[:200]}", {})
            names |= dict.fromkeys(name for row in rows for name in row)
            if not names:  # nothing tells how many rows a batch without columns has
                why = torn[0].fault if 0 in torn else "an empty object"
                raise DataError(f"{path}: no line holds an object with names; row 0: {why}")
            columns = [_column(name, [row.get(name) for row in rows]) for name in names]
            yield pa.RecordBatch.from_arrays([c for c, _ in columns], schema=pa.schema([f for _, f in columns])), torn


def _object(line: bytes) -> dict[str, Any]:
    """What a line holds. Raises `ValueError`, `RecursionError`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("a name occurs twice in one object")
        return found

    row = json.loads(line, object_pairs_hook=unique)
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, got {type(row).__name__}")
    return row


def labels(column: Any, field: Any) -> list[Any]:
    """The values of an id's column; None where there is none."""
    import pyarrow as pa

    if field.metadata == _JSON:
        return [None if text is None else json.loads(text) for text in column.to_pylist()]
    if getattr(field.type, "unit", "") == "ns" and not pa.types.is_duration(field.type):
        column = column.cast(pa.string())  # which Python's own times do not hold
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in column.to_pylist()]


def _column(name: str, values: list[Any]) -> tuple[Any, Any]:
    """What JSON has under one name, and its field: of one type, or else as text of JSON, which is read cell by cell."""
    import pyarrow as pa

    try:
        found = pa.array(values)
        return found, pa.field(name, found.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        texts = [None if value is None else json.dumps(value) for value in values]
        return pa.array(texts, pa.string()), pa.field(name, pa.string(), metadata=_JSON)
