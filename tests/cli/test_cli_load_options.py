"""The options of `fastgru.load`, in every command that reads a model."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import numpy_helper

import fastgru.serve
from fastgru.cli import main
from fastgru.cli.group import COMMANDS
from fastgru.load import Reading, load_graph
from fastgru.reference import run_graph
from fastgru.simd.target import TARGET

Invoke = Callable[..., Result]
GOLDEN = Path(__file__).parent.parent / "data"


@pytest.fixture
def x_npy(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.random.default_rng(3).standard_normal((6, 2, 3)))
    return tmp_path / "x.npy"


@pytest.fixture
def unread_onnx(gru_onnx: Path) -> Path:
    model = onnx.load(gru_onnx)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "left_over"))
    onnx.save(model, gru_onnx)
    return gru_onnx


@pytest.fixture
def keras_h5(tmp_path: Path) -> Path:
    """x (N, T, 3) -> dense, with a layer "gru" inside."""
    with zipfile.ZipFile(GOLDEN / "keras" / "keras2.zip") as files:
        (tmp_path / "inner.h5").write_bytes(files.read("sequential.h5"))
    return tmp_path / "inner.h5"


def arguments_of(command: str, file: Path, x: Path) -> list[object]:
    more = {"run": ["--input", x], "convert": [x.parent / "out.safetensors"], "verify": ["--no-runtimes"]}
    return [command, file, *more.get(command, [])]


@pytest.mark.parametrize("command", ["run", "verify", "inspect", "convert", "warmup"])
def test_tensors_that_nobody_reads_can_be_allowed(invoke: Invoke, command: str, unread_onnx: Path, x_npy: Path) -> None:
    arguments = arguments_of(command, unread_onnx, x_npy)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "'left_over'; allow_unread=True accepts them; on the command line, --allow-unread" in result.stderr
    result = invoke(*arguments, "--allow-unread")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["run", "verify", "inspect", "convert", "warmup"])
def test_an_option_that_the_file_has_no_use_for_is_refused(
    invoke: Invoke, command: str, gru_onnx: Path, keras_h5: Path, state_npz: Path, x_npy: Path
) -> None:
    for file, option, value in (
        (gru_onnx, "key", "cell"),
        (keras_h5, "linear-before-reset", "1"),
        (state_npz, "outputs", "rnn"),
    ):
        result = invoke(*arguments_of(command, file, x_npy), f"--{option}", value)
        assert result.exit_code == 2, (file, result.output)
        assert f"{option.replace('-', '_')}= does not apply to this file" in result.stderr
    assert invoke(*arguments_of(command, gru_onnx, x_npy), "--linear-before-reset", "2").exit_code == 2


def test_linear_before_reset_is_that_of_the_option(invoke: Invoke, gru_onnx: Path, x_npy: Path, tmp_path: Path) -> None:
    x = {"x": np.load(x_npy), "initial_h": np.zeros((1, 2, 5))}
    expected = {k: run_graph(load_graph(gru_onnx, linear_before_reset=k), x)["Y"] for k in (0, 1)}
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    for k in (0, 1):
        run = ("--input", x_npy, "--only", "Y", "--output", tmp_path / "y.npy", "--linear-before-reset", k)
        assert invoke("run", gru_onnx, *run).exit_code == 0
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected[k], atol=2e-6)
        found = json.loads(invoke("inspect", gru_onnx, "--json", "--linear-before-reset", k).stdout)
        assert found["grus"][0]["reset"] == ("after" if k else "before")
    saved = tmp_path / "m.safetensors"
    assert invoke("convert", gru_onnx, saved, "--linear-before-reset", 1).exit_code == 0
    np.testing.assert_array_equal(run_graph(load_graph(saved), x)["Y"], expected[1])
    report = json.loads(invoke("verify", gru_onnx, "--json", "--linear-before-reset", 1).stdout)
    assert report["holds"] is True
    assert "linear_before_reset" in report["skipped"][0][1] or "not installed" in report["skipped"][0][1]


def test_inner_layers_of_keras_can_be_had(invoke: Invoke, keras_h5: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(5).standard_normal((2, 7, 3))
    np.save(tmp_path / "x.npy", x)
    run = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npz", "--outputs", "dense", "--outputs", "gru")
    result = invoke("run", keras_h5, *run)
    assert result.exit_code == 0, result.output
    graph = load_graph(keras_h5, outputs=["dense", "gru"])
    expected = run_graph(graph, {graph.inputs[0].name: x})
    with np.load(tmp_path / "y.npz") as got:
        assert set(got) == set(expected) == {"dense", "gru"}
        for name in got:
            np.testing.assert_allclose(got[name], expected[name], atol=2e-6)
    found = json.loads(invoke("inspect", keras_h5, "--json", "--outputs", "dense", "--outputs", "gru").stdout)
    assert [spec["name"] for spec in found["outputs"]] == ["dense", "gru"]
    saved = tmp_path / "m.safetensors"
    assert invoke("convert", keras_h5, saved, "--outputs", "dense", "--outputs", "gru").exit_code == 0
    assert [spec.name for spec in load_graph(saved).outputs] == ["dense", "gru"]
    result = invoke("inspect", keras_h5, "--outputs", "nowhere")
    assert result.exit_code in (1, 2)
    assert "nowhere" in result.output


@pytest.fixture
def described(tmp_path: Path) -> tuple[Path, Path]:
    """A torch state dict of GRU(3, 4) and Linear(4, 2), with one tensor more, and the description of the network."""
    rng = np.random.default_rng(9)
    shapes = {"gru.weight_ih_l0": (12, 3), "gru.weight_hh_l0": (12, 4), "fc.weight": (2, 4), "loss.scale": (1,)}
    np.savez(tmp_path / "net.npz", **{name: rng.standard_normal(shape) for name, shape in shapes.items()})
    layers = [{"type": "GRU", "prefix": "gru", "states": {"h0": "hn"}}, {"type": "Linear", "name": "fc"}]
    (tmp_path / "net.json").write_text(json.dumps({"inputs": {"x": ["T", "N", 3]}, "layers": layers}))
    return tmp_path / "net.npz", tmp_path / "net.json"


@pytest.mark.parametrize("command", ["run", "verify", "inspect", "convert", "warmup"])
def test_weights_go_with_a_description(
    invoke: Invoke, command: str, described: tuple[Path, Path], gru_onnx: Path, x_npy: Path
) -> None:
    file, architecture = described
    arguments = arguments_of(command, file, x_npy)
    result = invoke(*arguments, "--architecture", architecture)
    assert result.exit_code == 2
    assert "not read: loss.scale float64[1]; on the command line, --allow-unread" in result.stderr
    result = invoke(*arguments, "--architecture", architecture, "--allow-unread")
    assert result.exit_code == 0, result.output
    if command == "inspect":
        found = json.loads(invoke(*arguments, "--architecture", architecture, "--allow-unread", "--json").stdout)
        assert (found["kind"], found["states"], found["operators"]) == ("model", {"h0": "hn"}, {"gru": 1, "linear": 1})
    if command == "convert":
        saved = x_npy.parent / "out.safetensors"
        assert load_graph(saved).states == {"h0": "hn"}
        saved.unlink()
    for wrong in (gru_onnx, file):
        options = (
            ["--architecture", architecture]
            if wrong is gru_onnx
            else ["--architecture", architecture, "--outputs", "y"]
        )
        result = invoke(*arguments_of(command, wrong, x_npy), *options)
        assert result.exit_code == 2
        assert "does not apply to this file" in result.stderr


def test_a_draft_is_for_weights_alone(invoke: Invoke, described: tuple[Path, Path], gru_onnx: Path) -> None:
    result = invoke("inspect", described[0], "--draft")
    assert result.exit_code == 0
    assert '- {type: GRU, prefix: "gru"} # 3 -> 4\n' in result.stdout
    assert invoke("inspect", described[0], "--draft", "--json").exit_code == 2
    assert "--draft is for files of weights alone" in invoke("inspect", gru_onnx, "--draft").stderr


def test_options_of_weights_alone(invoke: Invoke, state_npz: Path) -> None:
    for command in ("inspect", "verify"):
        result = invoke(command, state_npz, "--allow-unread")
        assert result.exit_code == 0, result.output


def test_warmup_without_a_file_has_nothing_to_read(invoke: Invoke) -> None:
    result = invoke("warmup", "--outputs", "gru", "--allow-unread")
    assert result.exit_code == 2
    assert "--outputs, --allow-unread: only for reading a FILE, and no FILE is given" in result.stderr


READS = sorted(COMMANDS.keys() - {"demo", "doctor"})  # demo has a model of its own


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """A checkpoint of two state dicts, with a description whose states begin inside, and arrays for it."""
    rng = np.random.default_rng(9)
    shapes = {"gru.weight_ih_l0": (24, 3), "gru.weight_hh_l0": (24, 8)}
    state = {name: rng.standard_normal(shape).tolist() for name, shape in shapes.items()}
    (tmp_path / "net.json").write_text(json.dumps({"best": state, "last": state}))
    layers = [{"type": "GRU", "prefix": "gru"}]
    (tmp_path / "layers.json").write_text(json.dumps({"inputs": {"x": ["T", "N", 3]}, "layers": layers}))
    np.save(tmp_path / "x.npy", rng.standard_normal((6, 2, 3)).astype(np.float32))
    np.savez(tmp_path / "x.npz", a=np.zeros((6, 3), np.float32), b=np.zeros((4, 3), np.float32))
    return tmp_path


@pytest.mark.parametrize("name", READS)
def test_every_command_that_reads_a_model_takes_all_of_it(
    name: str, nested: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(nested)
    command = main.get_command(main.make_context("fastgru", ["help"]), name)
    assert command is not None
    flags = {flag for option in command.params for flag in option.opts}
    assert {f"--{each.replace('_', '-')}" for each in Reading.__annotations__} <= flags
    assert ("--precision" in flags) == (name != "adapt")  # which learns in floats, chosen by --dtype
    reading = ["--key", "last", "--architecture", "layers.json", "--open-states", "--precision", "bfloat16"]
    more = {
        "bench": ["--rivals", "none", "--rounds", "1", "--turn-ms", "0.1"],
        "build": ["--target", TARGET.name, "-o", "kernels"],
        "convert": ["small.safetensors"],
        "memory": ["--data", "x=x.npy"],
        "run": ["--input", "x=x.npy"],
        "score": ["--input", "x.npz", "--output", "y.npz"],
        "verify": ["--no-runtimes"],
    }
    if name == "serve":
        for package in fastgru.serve._NEEDED:
            pytest.importorskip(package, reason="needs the extra serve")
        from fastgru.serve import assembly

        made: list[assembly.Assembly] = []
        monkeypatch.setattr(assembly.Assembly, "run", lambda server: made.append(server))
        assert invoke(name, "net.json", *reading).exit_code == 0
        model = made[0].repository.read("net").model
        assert (model.precision, len(model.graph.states)) == ("bfloat16", 1)
        return
    if name == "adapt":
        y = run_graph(load_graph("net.json", key="last", architecture="layers.json"), {"x": np.load("x.npy")})
        np.savez("pairs.npz", x=np.load("x.npy"), targets=next(iter(y.values())).astype(np.float32))
        more[name], reading = ["--data", "pairs.npz", "-o", "made.safetensors", "--held-out", "0"], reading[:-2]
    if name == "memory":
        np.save("x.npy", np.random.default_rng(1).standard_normal((400, 1, 3)).astype(np.float32))
    result = invoke(name, "net.json", *more.get(name, []), *reading)
    assert result.exit_code == 0, result.output
    without = invoke(
        name, "net.json", *more.get(name, []), *(["--force"] if name in ("adapt", "convert") else []), *reading[2:]
    )
    assert without.exit_code in (1, 2)
    assert "best" in without.output
    if name == "convert":
        graph = load_graph("small.safetensors")
        assert (len(graph.states), set(graph.precisions.values())) == (1, {"bfloat16"})
