"""The same over Ray Data: one task reads the sequences in order, actors run them, and their order is kept.

Scheduling, retries and memory are Ray's. An actor loads the model once.
"""

import pickle
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, read_datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayTaskError

from fastgru.errors import DataError
from fastgru.graph import Array
from fastgru.load import load
from fastgru.scoring.sequences import Record

__all__ = ["Cluster", "results"]

_BLOCK_BYTES: Final = 1 << 20
# Blocks below Ray's own size, 128 MiB, would be joined to one, which one actor runs alone.
_CONTEXT: Final = {"target_min_block_size": 1, "target_max_block_size": _BLOCK_BYTES, "enable_progress_bars": False}


class Cluster(NamedTuple):
    """address: of a cluster, or None for a Ray of this process. file, options: what each actor gives to `load`.

    actors: how many there are. cpus: of each, which may be a fraction.
    """

    address: str | None
    file: bytes
    options: dict[str, Any]
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
    """Has the model, and runs blocks of sequences."""

    def __init__(self, file: bytes, options: dict[str, Any], target: str, budget: int) -> None:
        from fastgru.simd.target import TARGET

        if TARGET.name != target:
            raise DataError(
                f"a node of the cluster runs the target {TARGET.name}, but this machine runs {target}: set the same"
                " FASTGRU_TARGET for both"
            )
        self._model, self._budget = load(file, **options), budget

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        done = []
        for block in batch["block"]:
            records: list[Record] = pickle.loads(block)
            found = iter(self._model.predict([r.arrays for r in records if r.arrays is not None], budget=self._budget))
            pairs = [(r._replace(arrays=None), None if r.arrays is None else next(found)) for r in records]
            done.append(pickle.dumps(pairs, protocol=5))
        return {"block": done}


def results(
    cluster: Cluster, read: Any, target: str, budget: int
) -> Iterator[tuple[Record, Array | tuple[Array, ...] | None]]:
    """Every record that `read()` gives, with what the model gives for it, in order. Raises `DataError`."""
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=cluster.address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    context = DataContext.get_current()
    before = {name: getattr(context, name) for name in _CONTEXT}
    for name, value in _CONTEXT.items():
        setattr(context, name, value)
    context.execution_options.preserve_order = True
    # Reading asks for no CPU: it would wait for ever where the actors have them all.
    source: Dataset = read_datasource(_Sequences(read), override_num_blocks=1, num_cpus=0)
    data = source.map_batches(
        _Actor,
        fn_constructor_args=(cluster.file, cluster.options, target, budget),
        batch_size=1,
        compute=ActorPoolStrategy(size=cluster.actors),
        num_cpus=cluster.cpus,
    )
    try:
        for row in data.iter_rows():
            yield from pickle.loads(row["block"])
    except RayTaskError as error:
        cause = error.cause if isinstance(error.cause, BaseException) else error
        while not isinstance(cause, DataError) and cause.__cause__ is not None:
            cause = cause.__cause__
        raise (cause if isinstance(cause, DataError) else error) from None
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        if ours:
            ray.shutdown()


def _blocks(read: Any) -> Iterable[Any]:
    """Tables of one row each, of about a megabyte."""
    import pyarrow as pa

    kept: list[Record] = []
    size = 0
    for record in read():
        kept.append(record)
        size += sum(array.nbytes for array in record.arrays or ())
        if size >= _BLOCK_BYTES:
            yield pa.table({"block": [pickle.dumps(kept, protocol=5)]})
            kept, size = [], 0
    if kept:
        yield pa.table({"block": [pickle.dumps(kept, protocol=5)]})
