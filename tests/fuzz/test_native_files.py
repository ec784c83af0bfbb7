"""Random files of our own form, spoiled in graph and tensors, end in an error of the tree, or in the right numbers.

600 files in the ordinary run; `pytest -m fuzz tests/fuzz/test_native_files.py` takes 100,000, in 40 parts of 2,500, of
which `-k "[17]"` is one. File n is the same every time; one alone is

    python tests/fuzz/native_worker.py NUMBER 1 FOLDER
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_fences import guarded
from native_check import check_native
from native_files import draw_graph, operators
from native_spoil import spoiled_bytes

from fastgru.engine.builder import PlanBuilder
from fastgru.graphfile import graph_to_bytes
from fastgru.model import Model
from fastgru.reference import OPS

WORKER = Path(__file__).parent / "native_worker.py"
PART = 2500


def run_worker(folder: Path, first: int, count: int) -> dict[str, Any]:
    command = [sys.executable, "-X", "faulthandler", "-W", "error", str(WORKER), str(first), str(count), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_PERTURB_": "165"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode < 0:
        died = signal.Signals(-done.returncode).name
        pytest.fail(f"{died} on file {(folder / 'last').read_text()}:\n{done.stderr[-4000:]}")
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shown = "\n".join(f"{folder}/{number}.safetensors: {fault}" for number, fault in result["failures"][:5])
    assert not result["failures"], f"{len(result['failures'])} failures\n{shown}"
    assert result["peak_kib"] < 2 << 20
    return result


def test_the_files_have_every_operator() -> None:
    assert operators() == sorted(OPS)


def test_spoiled_files(tmp_path: Path) -> None:
    outcomes = run_worker(tmp_path, 0, 600)["outcomes"]
    assert outcomes["checked"] > 120
    assert min(outcomes[name] for name in ("InvalidModelError", "ShapeError", "UnsupportedModelError")) > 30


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(40))
def test_many_spoiled_files(part: int, tmp_path: Path) -> None:
    result = run_worker(tmp_path, 1000 + part * PART, PART)
    assert result["outcomes"]["checked"] > PART / 5
    assert len(result["operators"]) > len(OPS) - 8


def unspoiled(number: int) -> str:
    rng = random.Random(number)
    graph, feeds = draw_graph(rng)
    return check_native(graph_to_bytes(graph), feeds, rng)


def test_a_wrong_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [unspoiled(n) for n in range(40)].count("checked") > 20
    run = Model.run

    def off(self: Model, inputs: Any, out: Any = None) -> Any:
        return {n: a + a.dtype.type(1) if a.dtype.kind in "fiu" else ~a for n, a in run(self, inputs, out).items()}

    monkeypatch.setattr(Model, "run", off)
    found = 0
    for n in range(40):
        try:
            unspoiled(n)
        except AssertionError:
            found += 1
    assert found > 20


def test_a_buffer_that_is_too_small_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whoever checks that views lie inside has nothing to say."""
    new = PlanBuilder.new

    def smaller(self: PlanBuilder, shape: Any, dtype: str | None = None) -> Any:
        view = new(self, shape, dtype)
        view.buffer.nbytes //= 2
        return view

    monkeypatch.setattr(PlanBuilder, "new", smaller)
    assert {unspoiled(n) for n in range(20)} & {"ShapeError"}


def test_a_guarded_array_ends_where_memory_does() -> None:
    array = guarded(np.arange(5, dtype=np.float32))
    np.testing.assert_array_equal(array, np.arange(5))
    reach = (
        "import ctypes, sys; from graph_fences import guarded; import numpy as np; a = guarded(np.zeros(5, np.uint8))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for offset, status in ((4, 0), (5, -signal.SIGSEGV)):
        code = f"{reach}; ctypes.string_at(a.ctypes.data + {offset}, 1)"
        assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == status


def test_the_same_number_is_the_same_file() -> None:
    made = []
    for _ in range(2):
        rng = random.Random("native 7")
        made.append(spoiled_bytes(draw_graph(rng)[0], rng))
    assert made[0] == made[1]
