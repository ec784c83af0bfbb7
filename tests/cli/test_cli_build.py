"""`fastgru build`: a folder that is warm under every target that it was built for, and a clear word where it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgru.graph import Graph, Node, TensorSpec
from fastgru.graphfile import write_graph
from fastgru.simd.target import TARGET, TARGETS, runnable
from fastgru.spec import GRUSpec

pytestmark = pytest.mark.timeout(1300)  # five targets are compiled for

ROOT = Path(__file__).parents[2]

RUN = """
import json, sys
import numpy as np
import fastgru
from fastgru.kernels.run import team_caller, worker
from fastgru.simd.target import TARGET

model = fastgru.load("model.onnx", precision="int8")
for T in (1, 7):
    assert np.isfinite(model(np.ones((T, 2, model.inputs[0].shape[2]), np.float32))[0]).all()
model.predict([np.ones((T, model.inputs[0].shape[2]), np.float32) for T in (7, 3)])
team_caller(), worker()
numba = "numba" in sys.modules
from fastgru.kernels.table import compiled_by_this_process
print(json.dumps([TARGET.name, compiled_by_this_process(), numba]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of a GRU and a layer, both large enough for int8."""
    from fastgru.layers import GRU, Linear, Sequential

    rng, place = __import__("numpy").random.default_rng(0), tmp_path_factory.mktemp("build")

    def uniform(*shape: int) -> object:
        return rng.uniform(-0.1, 0.1, shape).astype("float32")

    gru = GRU.from_torch({
        "weight_ih_l0": uniform(192, 64), "weight_hh_l0": uniform(192, 64), "bias_ih_l0": uniform(192),
        "bias_hh_l0": uniform(192),
    })  # fmt: skip
    net = Sequential(gru, Linear.from_torch({"weight": uniform(64, 64), "bias": uniform(64)}))
    net.to_onnx(place / "model.onnx")
    return place


def python(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FASTGRU_")}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**inherited, "PYTHONPATH": os.pathsep.join(paths), **settings}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=1200, check=False
    )


def build(folder: Path, *arguments: str, **settings: str) -> str:
    done = python(folder, "-m", "fastgru", *arguments, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_built_is_warm_under_every_target_that_it_was_built_for(folder: Path) -> None:
    levels = [target for target in runnable() if not target.emulated]
    names = ",".join(target.name for target in levels)
    told = build(folder, "build", "--target", names, "-o", "kernels", "--precision", "int8", "model.onnx")
    assert [line.split(":")[0] for line in told.splitlines()] == [target.name for target in levels]
    for target in levels:
        settings = {"FASTGRU_CACHE_DIR": str(folder / "kernels"), "FASTGRU_TARGET": target.level or target.short}
        done = python(folder, "-c", RUN, **settings)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [target.name, [], False]


SEVERAL = """
import json, sys
import numpy as np
import fastgru

model = fastgru.load("several.safetensors")
feeds = {spec.name: np.ones([n or 3 for n in spec.shape], np.float32) for spec in model.inputs}
assert np.isfinite(model.run(feeds)["z"]).all()
numba = "numba" in sys.modules
from fastgru.kernels.table import compiled_by_this_process
print(json.dumps([compiled_by_this_process(), numba]))
"""


def test_a_model_of_several_programs_has_those_kernels_built_that_it_needs(folder: Path) -> None:
    """Some weights of this one come with the call, so that what is planned depends on what was computed before."""
    specs = {"x": (None, None, 8), "w": (24, 8), "r": (24, 8)}
    nodes = (
        Node("unary", ("w",), ("v",), {"kind": "sin"}),
        Node("gru", ("x", "", "", "", "v", "r", "", ""), ("y", "h"), {"spec": GRUSpec(8, 8).to_dict()}),
        Node("softmax", ("y",), ("z",), {"axis": -1}),
    )
    inputs = tuple(TensorSpec(name, "float32", shape) for name, shape in specs.items())
    write_graph(Graph(inputs, (TensorSpec("z", "float32", None),), nodes, {}), folder / "several.safetensors")
    other = next(target for target in TARGETS if target.system == TARGET.system and target.is_x86 != TARGET.is_x86)
    told = build(folder, "build", "--target", f"{TARGET.name},{other.name}", "-o", "needed", "several.safetensors")
    assert all(int(line.split()[1]) < 40 for line in told.splitlines()), told
    done = python(folder, "-c", SEVERAL, FASTGRU_CACHE_DIR=str(folder / "needed"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], False]


def test_warmup_fills_the_cache_for_other_targets_too(folder: Path) -> None:
    other = next(target for target in TARGETS if target.system == TARGET.system and target.is_x86 != TARGET.is_x86)
    told = build(folder, "warmup", "--target", other.short, "model.onnx", FASTGRU_CACHE_DIR=str(folder / "cache"))
    assert told.startswith(f"{other.name}: ")
    (made,) = (folder / "cache").iterdir()
    assert made.name.startswith(f"{other.name}-")
    assert {"gru_step_reset_after_float32.fgo", "gru_reset_after_float32.fgo", "run_alone.fgo"} <= set(os.listdir(made))
    done = python(folder, "-c", RUN, FASTGRU_TARGET=other.name)
    assert f"FASTGRU_TARGET is {other.name}, which cannot run here" in done.stderr


def test_warmup_compiles_all_that_calls_streams_and_predict_need(folder: Path) -> None:
    cache = {"FASTGRU_CACHE_DIR": str(folder / "warm")}
    build(folder, "warmup", "--precision", "int8", "model.onnx", **cache)
    done = python(folder, "-c", RUN, **cache)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [TARGET.name, [], False]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--target", "linux-sparc", "-o", "x"), "--target is 'linux-sparc', expected one of"),
        (("--target", "v3", "-o", "/proc/x"), "/proc/x/"),
        (("--target", "v3"), "Missing option '-o'"),
        (("-o", "x"), "Missing option '--target'"),
        (
            ("--target", "v3", "-o", "x", "--allow-unread"),
            "--allow-unread: only for reading a MODEL, and no MODEL is given",
        ),
        (("--target", "v3", "-o", "x", "text.onnx"), "v3: "),
    ],
)
def test_what_cannot_be_built_is_told_in_a_line(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    (folder / "text.onnx").write_text("no model")
    done = python(folder, "-m", "fastgru", "build", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
