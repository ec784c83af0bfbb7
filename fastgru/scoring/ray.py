"""Scoring over Ray Data: one task reads the sequences in order, and actors run them. Ray keeps their order.

Ray does the scheduling and the retries, and manages the memory. Each actor gets one copy of the model.
"""

import pickle
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, read_datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from fastgru.errors import DataError, FastGRUError, ShapeError
from fastgru.graph import Array
from fastgru.model import Model
from fastgru.scoring.sequences import Record, refused

__all__ = ["Cluster", "results"]

_BLOCK_BYTES: Final = 1 << 20
# Ray would join blocks smaller than its own minimum, 128 MiB, into one block, which a single actor runs.
_CONTEXT: Final = {"target_min_block_size": 1, "target_max_block_size": _BLOCK_BYTES, "enable_progress_bars": False}


class Cluster(NamedTuple):
    """Where `score` runs on Ray.

    address: the address of a cluster, or None for a Ray of this process.
    actors: the number of actors. Each of them has a copy of the model.
    cpus: the number of CPUs of each actor, which may be a fraction.
    """

    address: str | None
    actors: int
    cpus: float


class _Sequences(Datasource):  # type: ignore[misc]
    """One read task, whose rows are pickled lists of records."""

    def __init__(self, read: Any) -> None:
        super().__init__()
        self._read = read

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        metadata = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(partial(_blocks, self._read), metadata)]


class _Actor:
    """Runs blocks of sequences on the model. Returns errors of fastgru as blocks, because Ray keeps only their text."""

    def __init__(self, model: Model, target: str, budget: int) -> None:
        self._model, self._target, self._budget = model, target, budget

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        done: list[bytes] = []
        for block in batch["block"]:
            found = pickle.loads(block)
            try:
                found = found if isinstance(found, FastGRUError) else self._predicted(found)
            except FastGRUError as error:
                found = error
            done.append(pickle.dumps(found, protocol=5))
        return {"block": done}

    def _predicted(self, records: list[Record]) -> list[tuple[Record, Any]]:
        from fastgru.simd.target import TARGET

        if TARGET.name != self._target:
            raise DataError(
                f"a node of the cluster runs the target {TARGET.name}, but this machine runs {self._target}: set the"
                " same FASTGRU_TARGET for both"
            )
        good = [r for r in records if r.arrays is not None]
        try:
            found = iter(self._model.predict([r.arrays for r in good], budget=self._budget))
        except ShapeError as error:
            raise refused(error, good[0].first) from error
        return [(r._replace(arrays=None), None if r.arrays is None else next(found)) for r in records]


def results(
    cluster: Cluster, model: Model, read: Any, target: str, budget: int
) -> Iterator[tuple[Record, Array | tuple[Array, ...] | None]]:
    """Yield every record of `read()` in order, with the result of a copy of the model. Raises `FastGRUError`."""
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=cluster.address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    context = DataContext.get_current()
    before = {name: getattr(context, name) for name in _CONTEXT}
    ordered = context.execution_options.preserve_order
    for name, value in _CONTEXT.items():
        setattr(context, name, value)
    context.execution_options.preserve_order = True
    # Reading reserves no CPU: it would wait for ever if the actors have them all.
    source: Dataset = read_datasource(_Sequences(read), override_num_blocks=1, num_cpus=0)
    data = source.map_batches(
        _Actor,
        fn_constructor_args=(model, target, budget),
        batch_size=1,
        compute=ActorPoolStrategy(size=cluster.actors),
        num_cpus=cluster.cpus,
    )
    try:
        for row in data.iter_rows():
            found = pickle.loads(row["block"])
            if isinstance(found, FastGRUError):
                raise found
            yield from found
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        context.execution_options.preserve_order = ordered
        if ours:
            ray.shutdown()


def _blocks(read: Any) -> Iterable[Any]:
    """Yield tables of one row and about a megabyte each. If an error ends the reading, the last table holds it."""
    import pyarrow as pa

    def table(found: list[Record] | FastGRUError) -> Any:
        return pa.table({"block": [pickle.dumps(found, protocol=5)]})

    kept: list[Record] = []
    size = 0
    try:
        for record in read():
            kept.append(record)
            size += sum(array.nbytes for array in record.arrays or ())
            if size >= _BLOCK_BYTES:
                yield table(kept)
                kept, size = [], 0
    except FastGRUError as error:
        if kept:
            yield table(kept)
        yield table(error)
    else:
        if kept:
            yield table(kept)
