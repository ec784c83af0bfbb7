"""Reads Parquet, CSV, JSON lines and folders of them as batches of rows, and NumPy arrays one by one."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from fastgru.errors import DataError
from fastgru.scoring.csvrows import Torn, csv_batches

__all__ = ["ARRAYS", "BATCH_ROWS", "arrays", "batches", "files_of", "hash_of", "labels", "types_of"]

BATCH_ROWS: Final = 1 << 14
ARRAYS: Final = (".npy", ".npz")
_JSON: Final = {b"fastgru": b"json"}  # metadata of a column whose values are JSON texts
_TABLES: Final = (".csv", ".jsonl", ".parquet")


def files_of(path: Path) -> list[Path]:
    """Return the files of an input, which may be a folder of files of one kind, in the order of their names.

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
    """Return a hash of the names and contents of the files."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def arrays(files: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    """Yield (name, array) for each .npy file and for each array of an .npz file. Objects are never unpickled."""
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


def batches(files: Sequence[Path], skip: int) -> Iterator[tuple[int, Any, dict[int, Torn]]]:
    """Yield (number of the first row, a `pyarrow.RecordBatch`, its damaged rows) from row `skip` on.

    Values of CSV files are text. Raises `DataError` for a file that is not of the kind that its name says.
    """
    first = 0
    for path in files:
        read = {".parquet": _parquet, ".csv": csv_batches, ".jsonl": _jsonl}[path.suffix.lower()]
        try:
            for batch, torn in read(path):
                begin = max(skip - first, 0)
                if begin < batch.num_rows:
                    yield first + begin, batch.slice(begin), {first + r: t for r, t in torn.items() if r >= begin}
                first += batch.num_rows
        except DataError:
            raise
        except ValueError as error:  # pyarrow raises subclasses of it
            after = f" after row {first - 1} (the first is 0):" if first else ""
            raise DataError(f"{path}:{after} {error}") from error


def types_of(files: Sequence[Path], ids: Sequence[str]) -> dict[str, Any]:
    """Return the types of the id columns in Parquet files; for other files, nothing. Raises `DataError`."""
    if files[0].suffix.lower() != ".parquet" or not ids:
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = []
    for path in files:
        try:
            schema = pq.read_schema(path)
        except ValueError as error:  # pyarrow raises subclasses of it
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


def _jsonl(path: Path) -> Iterator[tuple[Any, dict[int, Torn]]]:
    """Read JSON lines. A line without a column is null there, if this batch or an earlier one has the column."""
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
            if not names:  # a batch without columns has no number of rows
                why = torn[0].fault if 0 in torn else "an empty object"
                raise DataError(f"{path}: no line holds an object with names; row 0: {why}")
            columns = [_column(name, [row.get(name) for row in rows]) for name in names]
            yield pa.RecordBatch.from_arrays([c for c, _ in columns], schema=pa.schema([f for _, f in columns])), torn


def _object(line: bytes) -> dict[str, Any]:
    """Return the object of a line. Raises `ValueError` or `RecursionError`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("a name occurs twice in one object")
        return found

    row = json.loads(line, object_pairs_hook=unique)
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, got {type(row).__name__}")
    return row


def labels(column: Any, field: Any) -> list[Any]:
    """Return the values of an id column, with None for missing ones."""
    import pyarrow as pa

    if field.metadata == _JSON:
        return [None if text is None else json.loads(text) for text in column.to_pylist()]
    if getattr(field.type, "unit", "") == "ns" and not pa.types.is_duration(field.type):
        column = column.cast(pa.string())  # Python's own times do not hold nanoseconds
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in column.to_pylist()]


def _column(name: str, values: list[Any]) -> tuple[Any, Any]:
    """Return the values of one JSON name as a column with its field: of one type, or else as JSON texts, which are
    parsed cell by cell.
    """
    import pyarrow as pa

    try:
        found = pa.array(values)
        return found, pa.field(name, found.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        texts = [None if value is None else json.dumps(value) for value in values]
        return pa.array(texts, pa.string()), pa.field(name, pa.string(), metadata=_JSON)
