"""Arrays in and out of files: .npy, .npz and .csv; never a pickle."""

import csv
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Graph, TensorSpec
from fastgru.verify.roles import AxisRoles

__all__ = ["fit", "name_inputs", "read_arrays", "write_arrays"]

Array = NDArray[Any]

# What numpy.load and csv raise for a file that is damaged, or claims to hold more than fits in memory.
_DAMAGED: Final = (
    *(ValueError, EOFError, MemoryError, NotImplementedError, SyntaxError),
    *(csv.Error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a file by name; the one of a .npy or .csv file is named ''. Raises `click.UsageError`."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            return {"": _read_csv(path)}
        if suffix not in (".npy", ".npz"):
            raise click.UsageError(f"{path}: expected a .npy, .npz or .csv file")
        # Opened here, because numpy would leave a damaged file open.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except _DAMAGED as error:
        raise click.UsageError(f"{path}: not readable as {suffix}: {error}") from None


def _read_csv(path: Path) -> Array:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    try:
        float(lines[0][0] if lines else 0)
    except ValueError:
        lines = lines[1:]  # a header
    if not lines:
        raise click.UsageError(f"{path}: the file contains no numbers")
    if len({len(line) for line in lines}) > 1:
        raise click.UsageError(f"{path}: lines of different lengths")
    return np.array(lines, dtype=np.float64)


def name_inputs(
    option: str,
    files: Sequence[str],
    specs: Sequence[TensorSpec],
    states: Mapping[str, str],
    read: Callable[[Path], dict[str, Array]] = read_arrays,
) -> dict[str, Array]:
    """Return the arrays that an option names, by input name. option: its name for messages, such as "--input".

    "name=file" names the input. The arrays of an .npz file have their own names. A .npy or .csv file without a name is
    for the first input without an array; states come last.
    """
    known = [spec.name for spec in specs]
    order = sorted((spec.name for spec in specs), key=lambda name: name in states)
    found: dict[str, Array] = {}
    unnamed: list[tuple[str, Array]] = []
    for given in files:
        name, separator, file = given.rpartition("=")
        is_named = bool(separator) and not Path(given).exists()
        if is_named:
            arrays = read(Path(file))
            if len(arrays) != 1:
                raise click.UsageError(f"{option} {given}: {file} holds {len(arrays)} arrays, expected one")
            arrays = {name: next(iter(arrays.values()))}
        else:
            arrays = read(Path(given))
            if "" in arrays:
                unnamed.append((given, arrays[""]))
                continue
        for name, array in arrays.items():
            if name not in known:
                alone = len(arrays) == 1 and not is_named
                way = f"; {option} {order[0]}={given} gives the only array of the file to an input" if alone else ""
                raise click.UsageError(
                    f"{option} {given}: no input is called {name!r}; there are {', '.join(known)}{way}"
                )
            if name in found:
                raise click.UsageError(f"{option} {given}: {name!r} is given twice")
            found[name] = array
    for given, array in unnamed:
        free = [name for name in order if name not in found]
        if not free:
            raise click.UsageError(f"{option} {given}: every input has its array already")
        found[free[0]] = array
    return found


def fit(array: Array, spec: TensorSpec, graph: Graph) -> Array:
    """Return `array` in the dtype of `spec`, if that loses only float precision, and in its rank.

    A table of steps by features (or a single column or row of numbers) becomes a batch of one row, if the input has one
    axis more. The batch axis is the one that the graph tells, or else the first.
    """
    if spec.shape is not None and array.ndim != len(spec.shape):
        array = _fit_rank(array, spec, graph)
    wants_integer = spec.dtype.startswith(("int", "uint"))
    if wants_integer and array.dtype.kind == "f" and np.array_equal(array, np.rint(array)):
        return array.astype(np.int64)
    if not wants_integer and spec.dtype != "bool" and array.dtype.kind in "iu":
        return array.astype(np.float64 if spec.dtype == "float64" else np.float32)
    if spec.dtype == "bool" and array.dtype.kind in "iuf" and np.isin(array, (0, 1)).all():
        return array.astype(np.bool_)
    return array


def _fit_rank(array: Array, spec: TensorSpec, graph: Graph) -> Array:
    assert spec.shape is not None
    rank = len(spec.shape)
    batch = AxisRoles(graph).axis_of(spec.name, "N")
    if array.ndim == 2 and 1 in array.shape and rank == 1:
        return array.reshape(-1)
    if array.ndim == rank - 1 and spec.shape[batch if batch is not None else 0] in (None, 1):
        return np.expand_dims(array, batch if batch is not None else 0)
    return array


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write every array to an .npz file, or a single one to a .npy or .csv file (at most two axes above size 1)."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        # numpy.savez takes names as keywords, and a tensor may be called "file".
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        return
    if suffix not in (".npy", ".csv"):
        raise click.UsageError(f"{path}: expected .npz, .npy or .csv")
    if len(arrays) != 1:
        raise click.UsageError(f"{path}: {len(arrays)} outputs ({', '.join(arrays)}) need an .npz, or --only NAME")
    (array,) = arrays.values()
    if suffix == ".npy":
        np.save(path, array)
        return
    table = np.squeeze(array) if array.ndim > 2 else array
    if table.ndim > 2:
        raise click.UsageError(f"{path}: shape {array.shape} does not fit a table; take .npy or .npz")
    np.savetxt(path, table.reshape(-1, table.shape[-1] if table.ndim == 2 else 1), delimiter=",", fmt="%.9g")
