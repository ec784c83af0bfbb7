"""What the actors of Ray run is the model that this process has loaded, whatever options it was loaded with.

In place of Ray stands a stub that runs one actor in this process, on pickled copies, as a worker gets them.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from readme_files import draw

import fastgru
from fastgru.cli import main
from fastgru.graphfile import write_graph

pytest.importorskip("pyarrow", reason="not installed: the extra `data`")


class Data:
    """A data set of blocks, which an actor may change."""

    def __init__(self, blocks: Any) -> None:
        self._blocks = blocks

    def map_batches(self, actor: Any, *, fn_constructor_args: Any, **_: Any) -> Data:
        def done() -> Iterator[bytes]:
            made = actor(*pickle.loads(pickle.dumps(fn_constructor_args)))
            for block in self._blocks:
                try:
                    yield from made({"block": [block]})["block"]
                except Exception as error:  # of which Ray keeps the text
                    raise RuntimeError(str(error)) from None

        return Data(done())

    def iter_rows(self) -> Iterator[dict[str, bytes]]:
        return ({"block": block} for block in self._blocks)


def read_datasource(source: Any, **_: Any) -> Data:
    tables = (table for task in source.get_read_tasks(1) for table in task())
    return Data(block for table in tables for block in table.column("block").to_pylist())


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that `fastgru.scoring.ray` imports."""
    context = SimpleNamespace(
        target_min_block_size=0,
        target_max_block_size=0,
        enable_progress_bars=True,
        execution_options=SimpleNamespace(preserve_order=False),
    )
    names: dict[str, dict[str, Any]] = {
        "ray": {"is_initialized": lambda: False, "init": lambda **_: None, "shutdown": lambda: None},
        "ray.data": {
            "ActorPoolStrategy": SimpleNamespace,
            "DataContext": SimpleNamespace(get_current=lambda: context),
            "Dataset": Data,
            "read_datasource": read_datasource,
        },
        "ray.data.block": {"BlockMetadata": SimpleNamespace},
        "ray.data.datasource": {"Datasource": object, "ReadTask": lambda read, _: read},
    }
    for name, contents in names.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "fastgru.scoring.ray", raising=False)
    yield
    sys.modules.pop("fastgru.scoring.ray", None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.safetensors, a GRU and a linear layer of as many outputs, and in.csv, 20 rows in 5 sequences."""
    found, rng = tmp_path_factory.mktemp("actors"), np.random.default_rng(0)
    gates = {name: fastgru.Gate(draw(rng, 2, 2), draw(rng, 2, 2), draw(rng, 2)) for name in ("reset", "update")}
    candidate = fastgru.Gate(draw(rng, 2, 2), draw(rng, 2, 2), draw(rng, 2))
    gru = fastgru.GRU.from_gates(**gates, candidate=candidate, reset_after=True)
    write_graph(fastgru.Sequential(gru, fastgru.Linear(draw(rng, 2, 2))).to_graph(), found / "model.safetensors")
    rows = "".join(f"s{k // 4},{a},{b}\n" for k, (a, b) in enumerate(rng.standard_normal((20, 2)).round(3)))
    (found / "in.csv").write_text(f"id,a,b\n{rows}", encoding="utf-8")
    return found


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(
    "options", [["--outputs"], ["--inputs"], ["--precision", "bfloat16"], ["--precision", "float64"]]
)
def test_actors_run_the_model_of_this_process(folder: Path, tmp_path: Path, options: list[str]) -> None:
    """A part of the model, too: an inner output has the numbers of no other one."""
    model = fastgru.load(folder / "model.safetensors")
    if len(options) == 1:
        options = [*options, next(node.outputs[0] for node in model.graph.nodes if node.op == "gru")]
    written = []
    for more in ([], ["--ray"], ["--ray", "--threads", "2"]):
        out = tmp_path / f"{len(more)}.jsonl"
        words = ["score", str(folder / "model.safetensors"), "--input", str(folder / "in.csv"), "--id", "id"]
        done = CliRunner().invoke(main, [*words, "--output", str(out), *options, *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        written.append(out.read_text(encoding="utf-8"))
    assert written[0] == written[1] == written[2]


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(
    ("lengths", "options", "reason"),
    [
        ([60_000, 2], ["--budget", "1"], "sequences are counted from row 0"),
        ([2, 2], ["--columns", "a,d"], "the data has no column d"),
    ],
)
def test_an_error_of_a_worker_is_told_as_one_of_this_process(
    folder: Path, tmp_path: Path, lengths: list[int], options: list[str], reason: str
) -> None:
    rows = "".join(f"s{k},1,2\n" * n for k, n in enumerate(lengths))
    (tmp_path / "in.csv").write_text(f"id,a,b\n{rows}", encoding="utf-8")
    words = ["score", str(folder / "model.safetensors"), "--input", str(tmp_path / "in.csv"), "--id", "id", *options]
    told = [
        CliRunner().invoke(main, [*words, "--output", str(tmp_path / "out.jsonl"), *ray]) for ray in ([], ["--ray"])
    ]
    assert [each.exit_code for each in told] == [2, 2]
    assert reason in told[0].stderr
    assert told[0].stderr == told[1].stderr
