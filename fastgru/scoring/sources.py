"""What is read: Parquet, CSV, lines of JSON and folders of them as batches of rows, arrays of NumPy one by one."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from csv import reader
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from fastgru.errors import DataError

__all__ = ["ARRAYS", "BATCH_ROWS", "arrays", "batches", "files_of", "hash_of"]

BATCH_ROWS: Final = 1 << 14
ARRAYS: Final = (".npy", ".npz")
_TABLES: Final = (".csv", ".jsonl", ".parquet")


def files_of(path: Path) -> list[Path]:
    """The files of an input, which may be a folder of files of one kind, in the order of their names.

    Raises `DataError`.
    """
    if not path.is_dir():
        if path.suffix.lower() not in (*_TABLES, *ARRAYS):
            raise DataError(f"{path}: expected a name that ends in {', '.join((*_TABLES, *ARRAYS))}, or a folder")
        return [path]
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in (*_TABLES, *ARRAYS))
    kinds = sorted({p.suffix.lower() for p in found})
    if len(kinds) != 1:
        raise DataError(f"{path}: expected files of one kind ({', '.join((*_TABLES, *ARRAYS))}), got {kinds or 'none'}")
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


def batches(files: Sequence[Path], skip: int) -> Iterator[tuple[int, Any, dict[int, str]]]:
    """(number of the first row, a `pyarrow.RecordBatch`, what is wrong with single rows) from row `skip` on.

    Values of CSV files are text. Raises `DataError` for a file that is none of its kind.
    """
    first = 0
    for path in files:
        read = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}[path.suffix.lower()]
        try:
            for batch, faults in read(path):
                begin = max(skip - first, 0)
                if begin < batch.num_rows:
                    yield first + begin, batch.slice(begin), {first + row: fault for row, fault in faults.items()}
                first += batch.num_rows
        except DataError:
            raise
        except ValueError as error:  # of pyarrow, too
            raise DataError(f"{path}: after row {first - 1} (the first is 0): {error}") from error


def _parquet(path: Path) -> Iterator[tuple[Any, dict[int, str]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            yield batch, {}


def _csv(path: Path) -> Iterator[tuple[Any, dict[int, str]]]:
    import pyarrow as pa
    from pyarrow import csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(reader(file), [])
    text = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    with csv.open_csv(path, convert_options=text) as opened:
        for batch in opened:
            yield batch, {}


def _jsonl(path: Path) -> Iterator[tuple[Any, dict[int, str]]]:
    import pyarrow as pa

    with path.open("rb") as file:
        while lines := [line for _, line in zip(range(BATCH_ROWS), file, strict=False)]:
            rows, faults = list[dict[str, Any]](), dict[int, str]()
            for number, line in enumerate(lines):
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"expected an object, got {type(row).__name__}")
                except ValueError as error:
                    row, faults[number] = {}, f"no JSON: {error}"
                rows.append(row)
            names = dict.fromkeys(name for row in rows for name in row)
            columns = {name: [row.get(name) for row in rows] for name in names}
            yield pa.RecordBatch.from_pydict({name: _column(values) for name, values in columns.items()}), faults


def _column(values: list[Any]) -> Any:
    """What JSON has under one name: of one type, or else as text, which is read cell by cell."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
