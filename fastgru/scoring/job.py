"""Runs a model over a data set: from the file of the inputs to the file of the outputs."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from fastgru.errors import DataError, ShapeError
from fastgru.graph import Array, TensorSpec
from fastgru.model import Model
from fastgru.scoring.parts import SUFFIXES, Column, Fault, Parts, alone, parts_of, write_npz
from fastgru.scoring.sequences import Input, Record, records, refused
from fastgru.scoring.sources import ARRAYS, files_of, hash_of, types_of
from fastgru.simd.target import TARGET
from fastgru.streaming.predict import PREDICT_BYTES

if TYPE_CHECKING:
    from fastgru.scoring.ray import Cluster

__all__ = ["Scored", "score"]

PART_ROWS: Final = 1 << 16


class Scored(NamedTuple):
    """The result of `score`.

    rows, sequences: how many the input has.
    faults: the sequences whose outputs are null.
    resumed: the number of sequences that an earlier run had finished.
    target: the target for which the outputs were computed.
    """

    rows: int
    sequences: int
    faults: list[Fault]
    resumed: int
    target: str


def score(
    model: Model,
    source: str | PathLike[str],
    output: str | PathLike[str],
    *,
    columns: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    ids: Sequence[str] = (),
    outputs: Sequence[str] | None = None,
    rows: str | None = None,
    on_error: str = "stop",
    restart: bool = False,
    part_rows: int = PART_ROWS,
    budget: int = PREDICT_BYTES,
    progress: bool = False,
    cluster: "Cluster | None" = None,
) -> Scored:
    """Run a model over every sequence of a data set, and write its outputs.

    source: a .parquet, .jsonl or .csv file, an .npy or .npz file whose arrays (T, ...) are the sequences, or a folder
        of files of one of these kinds.
    output: a .parquet, .jsonl or .npz file. It gets its name when it is complete. Until then, finished parts lie in
        `OUTPUT.parts`, and the same call resumes after them. An .npz file is written at the end; an interrupted call
        starts over.
    columns: the columns of the values, in the order of the model's features; a mapping by input if the model has
        several. None means all columns except those of `ids`.
    ids: the columns that identify a sequence: all its rows have the same values there. The output has them, too.
    outputs: names of the model's outputs; None means all.
    rows: "steps" if each row is one step of a sequence, "sequences" if each row is a whole sequence, of lists. None
        takes rows with lists as sequences, unless `ids` is given and each row has the list of one step.
    on_error: "stop" at the first sequence with a fault, or write "null" for its outputs and list the fault in
        `OUTPUT.errors.jsonl`.
    restart: start over: delete the parts of an earlier run, and overwrite a complete output.
    part_rows: the number of input rows in a part. A part may have some more, because it ends with a sequence.
    budget: bytes that sequences and results may take during the run, as in `Model.predict`.
    cluster: run it over Ray: a `fastgru.scoring.ray.Cluster`, each of whose actors has a copy of the model.

    Outputs with one entry per step are written as one row per step; all others as one row per sequence. Raises
    `DataError`.
    """
    source, output = Path(source), Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise DataError(f"{output}: expected a name that ends in {', '.join(SUFFIXES)}")
    if rows not in (None, "steps", "sequences"):
        raise DataError(f"rows is {rows!r}, expected 'steps', 'sequences' or None")
    if on_error not in ("stop", "null") or (on_error == "null" and output.suffix == ".npz"):
        raise DataError(f"on_error is {on_error!r}, expected 'stop', or 'null' for an output that is a table")
    files = files_of(source)
    if output.resolve() == source.resolve() or (source.is_dir() and output.resolve().parent == source.resolve()):
        raise DataError(f"{output}: the output would be the input, or lie in its folder; give another name")
    if not output.parent.is_dir():
        raise DataError(f"{output}: there is no folder {str(output.parent)!r}; make it first")
    if ids and files[0].suffix.lower() in ARRAYS:
        raise DataError(
            f"{source}: an archive of arrays has no columns for --id, because each array has a name; leave --id out"
        )
    inputs = _inputs(model, columns)
    chosen = _outputs(model, outputs)
    if twice := sorted(set(ids) & {spec.name for spec in chosen}):
        raise DataError(f"{', '.join(twice)}: a column of --id and an output have the same name; rename the column")
    frames = None if rows is None else rows == "steps"
    labels = ("name",) if files[0].suffix.lower() in ARRAYS else tuple(ids)
    run = _Run(model, inputs, chosen, labels, files, frames, on_error, budget, progress, cluster)
    with alone(output):
        if output.exists() and not restart and not parts_of(output).exists():
            raise DataError(f"{output} exists already; overwrite it with --restart")
        if output.suffix == ".npz":
            return run.into_npz(output)
        job = {
            "input": hash_of(files),
            "model": model.fingerprint,
            "target": TARGET.name,
            "options": [inputs, labels, [spec.name for spec in chosen], rows, on_error, part_rows],
        }
        return run.into_parts(output, _plain(job), restart, part_rows)


class _Run(NamedTuple):
    model: Model
    inputs: tuple[Input, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    files: list[Path]
    frames: bool | None
    on_error: str
    budget: int
    progress: bool
    cluster: "Cluster | None"

    def results(self, skip: int, seen: set[int]) -> Iterator[tuple[Record, tuple[Array, ...] | None]]:
        """Yield every sequence with its outputs, in order; None for a sequence with a fault if `on_error` is "null"."""
        ids = () if self.files[0].suffix.lower() in ARRAYS else self.labels
        read = partial(records, self.files, self.inputs, ids, frames=self.frames, skip=skip, seen=seen)
        if self.cluster is None:
            pairs = self.predicted(read)
        else:
            from fastgru.scoring.ray import results

            pairs = results(self.cluster, self.model, read, TARGET.name, self.budget)
        numbers = [[spec.name for spec in self.model.outputs].index(spec.name) for spec in self.outputs]
        for record, found in pairs:
            if record.fault and self.on_error == "stop":
                where = f"row {record.at} (the first is 0)"
                if any(each is not None for each in record.ids):
                    where += f", sequence {', '.join(map(str, record.ids))}"
                raise DataError(
                    f"{where}: {record.fault}; with --on-error null, its outputs are null and the run goes on"
                )
            yield (
                record,
                None if found is None else tuple((found if isinstance(found, tuple) else (found,))[k] for k in numbers),
            )

    def predicted(self, read: Callable[[], Iterator[Record]]) -> Iterator[tuple[Record, Any]]:
        """Yield every record that `read` returns with the result of the model, computed in this process."""
        waiting = deque[Record]()

        def good() -> Iterator[tuple[Array, ...]]:
            for record in read():
                arrays = record.arrays
                waiting.append(record._replace(arrays=None))  # `predict` has its own copy, which its budget counts
                if arrays is not None:
                    yield arrays
                elif self.on_error == "stop":
                    return

        begun = None
        try:
            for result in self.model.predict(good(), budget=self.budget, progress=self.progress):
                while waiting[0].fault:
                    yield waiting.popleft(), None
                begun = waiting[0].first if begun is None else begun
                yield waiting.popleft(), result
        except ShapeError as error:
            raise refused(error, begun or 0) from error
        while waiting:
            yield waiting.popleft(), None

    def into_npz(self, output: Path) -> Scored:
        """Write one array for each sequence, or one for each of its outputs."""
        count = rows = 0

        def arrays() -> Iterator[tuple[str, Array]]:
            nonlocal count, rows
            for record, found in self.results(0, set()):
                assert found is not None
                name = "/".join(map(str, record.ids)) if record.ids else str(record.first)
                several = len(self.outputs) > 1
                yield from (
                    (f"{name}/{s.name}" if several else name, a) for s, a in zip(self.outputs, found, strict=True)
                )
                count, rows = count + 1, rows + record.rows

        write_npz(output, arrays())
        return Scored(rows, count, [], 0, TARGET.short)

    def into_parts(self, output: Path, job: Mapping[str, Any], restart: bool, part_rows: int) -> Scored:
        """Write a part whenever there are enough rows, and join the parts into one file at the end."""
        parts, types = Parts(output, job, restart=restart), types_of(self.files, self.labels)
        resumed, seen = parts.sequences, parts.keys()
        kept, rows = list[tuple[Record, tuple[Array, ...] | None]](), 0
        for record, found in self.results(parts.rows, seen):
            kept.append((record._replace(arrays=None), found))
            rows += record.rows
            if rows >= part_rows:
                self.write(parts, kept, rows, types)
                kept, rows = [], 0
        if kept or not parts.done:
            self.write(parts, kept, rows, types)
        total, sequences, faults = parts.rows, parts.sequences, parts.faults()
        parts.join()
        return Scored(total, sequences, faults, resumed, TARGET.short)

    def write(
        self, parts: Parts, kept: list[tuple[Record, tuple[Array, ...] | None]], rows: int, types: Mapping[str, Any]
    ) -> None:
        """Write a part: a row per step if each row of the input is a step and each output has an entry per step."""
        layout = self.model.predictor.layout
        first = [layout.steps.get(s.name, -1) == (layout.rows.get(s.name) == 0) for s in self.outputs]
        steps = all(first) and all(record.stepwise for record, _ in kept)
        repeats = [record.rows if steps else 1 for record, _ in kept]
        columns: dict[str, Column] = {}
        for k, name in enumerate(self.labels):
            columns[name] = (
                [record.ids[k] for (record, _), n in zip(kept, repeats, strict=True) for _ in range(n)],
                types.get(name),
            )
        for k, spec in enumerate(self.outputs):
            found = [None if results is None else results[k] for _, results in kept]
            columns[spec.name] = _by_step(found, repeats, spec) if steps else (found, None)
        faults = [Fault(r.at, r.first, r.rows, [*r.ids], r.fault) for r, found in kept if found is None]
        parts.write(columns, rows, [record.key for record, _ in kept], faults)


def _by_step(found: Sequence[Array | None], repeats: Sequence[int], spec: TensorSpec) -> Column:
    """The values of all steps, (n,) or (n, width), and which of the steps have values."""
    width = next((int(np.prod(array.shape[1:])) for array in found if array is not None), 1)
    empty = [
        np.zeros((n, width), spec.dtype) if a is None else a.reshape(n, width)
        for a, n in zip(found, repeats, strict=True)
    ]
    values = np.concatenate(empty) if empty else np.zeros((0, width), spec.dtype)
    there = np.repeat([array is not None for array in found], repeats)
    return values[:, 0] if width == 1 else values, True if there.all() else there


def _inputs(model: Model, columns: Mapping[str, Sequence[str]] | Sequence[str] | None) -> tuple[Input, ...]:
    """Return what each input of the model needs from a sequence, by the axes that `predict` finds."""
    layout = model.predictor.layout
    frames = [
        s
        for s in model.inputs
        if s.name in layout.rows and s.name not in model.graph.states and s.name != layout.lengths
    ]
    named = columns if isinstance(columns, Mapping) else {frames[0].name: columns} if columns else {}
    if unknown := sorted(set(named) - {spec.name for spec in frames}):
        raise DataError(
            f"columns of {', '.join(unknown)}: expected columns for inputs of the model:"
            f" {', '.join(s.name for s in frames)}"
        )
    if len(frames) > 1 and (missing := [spec.name for spec in frames if spec.name not in named]):
        raise DataError(
            f"the model has several inputs: name the columns of {', '.join(missing)} (--columns {missing[0]}=...)"
        )
    found = []
    for spec in frames:
        if spec.shape is None or spec.name not in layout.steps:
            raise DataError(f"input {spec.name!r} has no time axis, so rows cannot become a sequence")
        row, step = layout.rows[spec.name], layout.steps[spec.name]
        axes = [axis for axis in range(len(spec.shape)) if axis != row]
        if axes[0] != step:
            raise DataError(
                f"input {spec.name!r} has shape {spec.shape}, expected time as its first axis besides the batch"
            )
        found.append(
            Input(spec.name, spec.dtype, tuple(spec.shape[axis] for axis in axes[1:]), tuple(named.get(spec.name, ())))
        )
    return tuple(found)


def _outputs(model: Model, names: Sequence[str] | None) -> tuple[TensorSpec, ...]:
    """Return the specs of all outputs, or of those with the given names."""
    known = {spec.name: spec for spec in model.outputs}
    if unknown := [name for name in names or () if name not in known]:
        raise DataError(f"outputs {', '.join(unknown)}: expected outputs of the model: {', '.join(known)}")
    return tuple(known[name] for name in names) if names else model.outputs


def _plain(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the job as JSON reads it back."""
    return dict(json.loads(json.dumps(job)))
