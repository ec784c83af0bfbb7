"""The finished parts of an output. A part gets its final name in `OUT.parts/` only when it is complete.

A second run of the same job continues after the last part. At the end the parts become one file, and the folder is
removed.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from fastgru.errors import DataError
from fastgru.filelock import FileLock, HeldError

__all__ = ["SUFFIXES", "Column", "Fault", "Parts", "alone", "parts_of", "write_npz"]

SUFFIXES: Final = (".jsonl", ".npz", ".parquet")
# Either an array of values with one entry per row, and a mask of the entries that exist (True for all); or a list, and
# its Parquet type (None to infer the type from the values).
Column = tuple[Any, Any]


class Fault(NamedTuple):
    """The fault of a sequence of `rows` rows that begins with row `first`; `reason` was found in row `row`."""

    row: int
    first: int
    rows: int
    id: list[Any]
    reason: str


def parts_of(output: Path) -> Path:
    """The folder of an output's parts."""
    return output.with_name(output.name + ".parts")


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Keep all other processes from writing `output` or its parts. The end of a process releases the lock.

    Raises `DataError` if another run has the lock, or if files in the folder cannot be locked.
    """
    path = output.with_name(output.name + ".lock")
    try:
        lock = FileLock(path)
    except HeldError as error:
        raise DataError(
            f"{output} is being written by another run (process {error.holder}): wait until that run has ended, or"
            " choose another output"
        ) from None
    except OSError as error:
        if error.filename is not None:
            raise
        raise DataError(f"{path}: {error.strerror}: choose an output in a folder where files can be locked") from error
    try:
        yield
    finally:
        lock.release(remove=True)


class Parts:
    """The parts of `output`. job: what the parts belong to; parts of another job are refused with `DataError`."""

    def __init__(self, output: Path, job: Mapping[str, Any], *, restart: bool) -> None:
        self.output, self.job = output, dict(job)
        self.folder = parts_of(output)
        if restart:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.done = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.done"))]
        if [part["number"] for part in self.done] != list(range(len(self.done))):
            raise DataError(f"{self.folder}: a part is missing; start again with --restart")
        before = json.loads((self.folder / "job.json").read_text(encoding="utf-8")) if self.done else self.job
        if changed := sorted(key for key in {*before, *self.job} if before.get(key) != self.job.get(key)):
            raise DataError(
                f"{self.folder} holds parts of another job ({', '.join(changed)} changed); finish that job, or delete"
                " its parts with --restart"
            )

    @property
    def rows(self) -> int:
        """The number of input rows in the finished parts."""
        return sum(part["rows"] for part in self.done)

    @property
    def sequences(self) -> int:
        return sum(part["sequences"] for part in self.done)

    def keys(self) -> set[int]:
        """The keys of the sequences in the finished parts."""
        return {int(key) for k in range(len(self.done)) for key in np.load(self.folder / f"{k:06}.keys.npy")}

    def faults(self) -> list[Fault]:
        return [Fault(**fault) for part in self.done for fault in part["faults"]]

    def write(self, columns: Mapping[str, Column], rows: int, keys: list[int], faults: list[Fault]) -> None:
        """Write one more part. It counts from the moment when the last of its files has its name."""
        number = len(self.done)
        if not number:
            self.folder.mkdir(parents=True, exist_ok=True)
            stated = json.dumps(self.job, indent=2)
            _replace(self.folder / "job.json", lambda path: path.write_text(stated, encoding="utf-8"))
        name = self.folder / f"{number:06}"
        _replace(name.with_suffix(self.output.suffix), lambda path: self._write_table(path, columns))
        _replace(name.with_suffix(".keys.npy"), lambda path: _save_keys(path, keys))
        part = {"number": number, "rows": rows, "sequences": len(keys), "faults": [fault._asdict() for fault in faults]}
        _replace(
            name.with_suffix(".done"), lambda path: path.write_text(json.dumps(part, default=_text), encoding="utf-8")
        )
        self.done.append(part)

    def _write_table(self, path: Path, columns: Mapping[str, Column]) -> None:
        if self.output.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            table = pa.table({name: _arrow(*column) for name, column in columns.items()})
            pq.write_table(table.replace_schema_metadata({"fastgru": json.dumps(self.job)}), path)
            return
        lists = [_listed(*column) for column in columns.values()]
        with path.open("w", encoding="utf-8") as file:
            for row in zip(*lists, strict=True):
                file.write(json.dumps(dict(zip(columns, row, strict=True)), allow_nan=False, default=_text) + "\n")

    def join(self) -> None:
        """Join the parts into one file, list the faults, and remove the parts."""
        paths = [self.folder / f"{k:06}{self.output.suffix}" for k in range(len(self.done))]
        _replace(self.output, lambda path: _join(paths, path))
        faults = self.faults()
        listed = self.output.with_name(self.output.name + ".errors.jsonl")
        listed.unlink(missing_ok=True)
        if faults:
            lines = "".join(json.dumps(fault._asdict(), default=_text) + "\n" for fault in faults)
            _replace(listed, lambda path: path.write_text(lines, encoding="utf-8"))
        # One rename, because a kill while parts are deleted would leave some of them.
        gone = self.folder.with_name(self.folder.name + ".old")
        shutil.rmtree(gone, ignore_errors=True)
        self.folder.replace(gone)
        shutil.rmtree(gone)


def write_npz(output: Path, arrays: Iterator[tuple[str, np.ndarray[Any, Any]]]) -> int:
    """Write the arrays as they come, and return how many. A complete file gets its name. Raises `DataError`."""
    count = 0

    def write(path: Path) -> None:
        nonlocal count
        with ZipFile(path, "w", ZIP_STORED, allowZip64=True) as archive:
            for name, array in arrays:
                if f"{name}.npy" in archive.NameToInfo:
                    raise DataError(f"{output}: two arrays have the name {name!r}")
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
                count += 1

    _replace(output, write)
    return count


def _join(paths: list[Path], output: Path) -> None:
    if output.name.removesuffix(".tmp").endswith(".jsonl"):
        with output.open("wb") as file:
            for path in paths:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, file)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A part in which all values of a column are null has no type for the column.
    schemas = [pq.read_schema(path) for path in paths]
    schema = pa.schema(
        [_field([each.field(k) for each in schemas]) for k in range(len(schemas[0]))], schemas[0].metadata
    )
    with pq.ParquetWriter(output, schema) as writer:
        for path in paths:
            writer.write_table(pq.read_table(path).cast(schema))


def _field(fields: list[Any]) -> Any:
    """Return a field that can hold the values of all parts. Ids of JSON that are numbers in one part and text in
    another become text.
    """
    import pyarrow as pa

    try:
        return pa.unify_schemas([pa.schema([field]) for field in fields], promote_options="permissive").field(0)
    except pa.ArrowTypeError:
        return pa.field(fields[0].name, pa.string())


def _replace(path: Path, write: Any) -> None:
    """Write a temporary file, then rename it: a reader sees all of it or nothing, even after a crash."""
    beside = path.with_name(path.name + ".tmp")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _save_keys(path: Path, keys: list[int]) -> None:
    with path.open("wb") as file:
        np.save(file, np.array(keys, np.uint64))


def _arrow(values: Any, there: Any) -> Any:
    """Return a column of Parquet. values: an array (n,) or (n, width), or a list of arrays and None."""
    import pyarrow as pa

    if not isinstance(values, np.ndarray):
        plain = [v.tolist() if isinstance(v, np.ndarray) and v.ndim > 1 else v for v in values]
        try:
            return pa.array(plain, there)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            if there is not None:  # times that are finer than Python's own are text
                return pa.array(plain).cast(there)
            return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in plain])
    missing = None if there is True else ~there
    if missing is not None and missing.all():
        return pa.nulls(len(values))
    if values.ndim == 1:
        return pa.array(values, mask=missing)
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=None if missing is None else pa.array(missing))


def _text(value: Any) -> str:
    """Return an id as text, if JSON has no such type: times, decimals, bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _plain(array: Any) -> Any:
    """Return an array as JSON has it, with null for numbers that are not finite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = np.where(np.isfinite(array), array, None)
    return array.tolist()


def _listed(values: Any, there: Any) -> list[Any]:
    """Return a column as a list of values for JSON."""
    if isinstance(values, np.ndarray):
        found = _plain(values)
        return found if there is True else [v if has else None for v, has in zip(found, there, strict=True)]
    return [_plain(value) if isinstance(value, np.ndarray | np.generic) else value for value in values]
