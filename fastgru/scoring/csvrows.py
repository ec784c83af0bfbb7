"""Reads the rows of a CSV file as batches of texts, and the fault of each line with too few or too many fields."""

import re
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from csv import Error, reader
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastgru.errors import DataError

__all__ = ["Torn", "check_separator", "csv_batches"]

_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# A field in quotes, and the quote that ends it. Python's csv reads such fields, too, but limits their length.
_QUOTED: Final = re.compile(r'(?:^|,)"[^"]*(?:""[^"]*)*("?)')


class Torn(NamedTuple):
    """A damaged row, which is null in the batch. names: its values by column, as far as it seems to have them."""

    fault: str
    names: Mapping[str, str]


def csv_batches(path: Path) -> Iterator[tuple[Any, dict[int, Torn]]]:
    """Yield each `pyarrow.RecordBatch` with its damaged rows: those with too few or too many fields.

    Raises `DataError`, and the errors of pyarrow, which are subclasses of `ValueError`.
    """
    import pyarrow as pa
    from pyarrow import csv

    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        names = next((row for row in reader(lines) if row), [])
    if not names:
        return
    text = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    waiting = deque[Any]()  # the torn rows of a block, which pyarrow reports before the block

    def skip(row: Any) -> str:  # must not raise: pyarrow would only print the exception
        waiting.append(row)
        return "skip"

    # Rows have numbers only if a single thread reads them. Threads would not make this faster.
    one = csv.ReadOptions(use_threads=False)
    rows = csv.ParseOptions(invalid_row_handler=skip, newlines_in_values=True)
    first = 0
    with _Utf8(path) as file, path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        faults = _Faults(names, lines)
        with csv.open_csv(file, read_options=one, parse_options=rows, convert_options=text) as opened:
            for batch in opened:
                whole, torn = _mended(batch, first, waiting, faults)
                yield whole, torn
                first += whole.num_rows
            if waiting and not first:
                check_separator(names)
                raise DataError(f"{path}: no line has the fields of the first; {faults.of(waiting[0]).fault}")
            if waiting:
                yield _mended(pa.RecordBatch.from_pylist([], opened.schema), first, waiting, faults)


def check_separator(names: Sequence[str]) -> None:
    """Raise `DataError` if the first line of a CSV file has one name that seems to be several."""
    found = [word for mark, word in _SEPARATORS.items() if len(names) == 1 and mark in names[0]]
    if found:
        raise DataError(
            f"the fields of a CSV file must be separated by commas, but its first line has {found[0]}: {names[0]!r:.80}"
        )


def _mended(batch: Any, first: int, waiting: deque[Any], faults: "_Faults") -> tuple[Any, dict[int, Torn]]:
    """Insert the waiting rows that belong to this batch, which begins with row `first`."""
    import pyarrow as pa

    if not waiting:
        return batch, {}
    places, torn, count = list[int | None](), dict[int, Torn](), 0

    def is_next() -> bool:
        return bool(waiting) and waiting[0].number - 2 == first + len(places)  # the header has number 1

    while count < batch.num_rows or is_next():
        if is_next():
            torn[len(places)] = faults.of(waiting.popleft())
            places.append(None)
        else:
            places.append(count)
            count += 1
    return batch.take(pa.array(places, pa.int64())), torn


class _Utf8(FileIO):
    """A file whose reading raises `DataError` at a byte that is not UTF-8."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._decoder, self._passed = getincrementaldecoder("utf-8")(), 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        try:
            self._decoder.decode(found, final=not found)
        except UnicodeDecodeError as error:  # `error.object` begins with bytes that the decoder kept
            at = self._passed + len(found) - len(error.object) + error.start
            raise DataError(f"{self.name}: byte {at} is not UTF-8, expected a table in UTF-8") from None
        self._passed += len(found)
        return found


class _Faults:
    """The faults of a file's torn rows, in order. names: those of its columns. lines: the file, read up to the row."""

    def __init__(self, names: Sequence[str], lines: Iterable[str]) -> None:
        self._names, self._begins, self._passed = names, _begins(lines), 0

    def of(self, row: Any) -> Torn:
        """Return the fault of a row of pyarrow, with its line number if the line of that number matches the row."""
        line, begin = next(islice(self._begins, row.number - self._passed - 1, None), (0, ""))
        self._passed = row.number
        where = f"line {line}: " if line and row.text.startswith(begin) else ""
        fault = f"{where}expected {row.expected_columns} fields, got {row.actual_columns}: {row.text[:80]!r}"
        return Torn(fault, dict(zip(self._names, _fields(row.text), strict=False)))


def _begins(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line in which a row begins."""
    is_quoted = False
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text and not is_quoted:
            yield number, text
        is_quoted = _goes_on(line, is_quoted)


def _goes_on(line: str, is_quoted: bool) -> bool:
    """Return True if a quoted field continues in the next line. is_quoted: whether one continues in this line."""
    ends = _QUOTED.findall(f'"{line}' if is_quoted else line)
    return bool(ends) and not ends[-1]


def _fields(line: str) -> list[str]:
    try:
        return next(reader([line]), [])
    except Error:
        return []
