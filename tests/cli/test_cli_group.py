"""The command line as a whole: help, errors, what it imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from users import child

import fastgru
from fastgru.cli import main
from fastgru.cli.group import COMMANDS, one_line
from fastgru.errors import InvalidModelError


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=240)


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name}" in result.output


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name}")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from fastgru.cli import main\n"
        "for arguments in (['--help'], ['demo', '--help'], ['verify', '--help'], ['nonsense']):\n"
        "    main(arguments, standalone_mode=False) if arguments != ['nonsense'] else None\n"
        "print([m for m in ('numba', 'onnx', 'llvmlite', 'h5py', 'torch') if m in sys.modules])\n"
    )
    result = run_process("-c", code)
    assert result.stdout.rstrip().endswith("[]"), result.stdout + result.stderr


def test_the_module_runs_as_the_command() -> None:
    result = run_process("-m", "fastgru", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: fastgru [OPTIONS] COMMAND")


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(main, ["fly"])
    assert result.exit_code == 2
    assert "No such command 'fly'" in result.output


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_an_error_of_ours_is_one_line_and_status_2(command: str, tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"\xff" * 100)
    result = CliRunner().invoke(main, [command, str(tmp_path / "noise.onnx")])
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("fastgru: error: ")
    assert "noise.onnx" in line


def test_debug_shows_where_the_error_came_from(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"\xff" * 100)
    result = CliRunner().invoke(main, ["--debug", "inspect", str(tmp_path / "noise.onnx")])
    assert isinstance(result.exception, InvalidModelError)
    process = run_process("-m", "fastgru", "--debug", "inspect", str(tmp_path / "noise.onnx"))
    assert "Traceback" in process.stderr


def test_a_file_that_is_not_there_is_named() -> None:
    result = CliRunner().invoke(main, ["inspect", "nowhere.onnx"])
    assert result.exit_code == 2
    assert "nowhere.onnx" in result.output


def test_messages_take_one_line() -> None:
    assert one_line(InvalidModelError("a\n  b\tc")) == "a b c"
    assert one_line(FileNotFoundError(2, "No such file or directory", "x.bin")) == "x.bin: No such file or directory"
    assert one_line(InvalidModelError("")) == "InvalidModelError"


def test_what_is_mistyped_is_answered_with_what_is_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"")
    for words, said in (
        (["inspcet"], "Did you mean 'inspect'?"),
        (["model.onnx"], "fastgru inspect model.onnx"),
        (["inspect", "modl.onnx"], "did you mean model.onnx?"),
        (["inspect", "."], "'.' is a folder, and a file was expected; this folder has model.onnx"),
        (["inspect", "nowhere/model.onnx"], "there is no folder nowhere"),
        (["inspect", "--presicion", "auto"], "No such option '--presicion'. Did you mean '--precision'?"),
        (["score", "--outptu", "x.npz"], "Did you mean '--output' or '--outputs'?"),
        (["bench", "--no-cg"], "Did you mean '--no-gc'?"),
        (["serve", "--sate-dir", "x"], "Try 'main serve --help' for help. Error: No such option '--sate-dir'. Did you"),
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split()), result.stderr


@pytest.mark.parametrize("words", [["serve", "--nonsense"], ["inspect", "-x"], ["bench", "--report"]])
def test_an_option_like_no_other_gets_no_suggestion(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"\nTry 'main {words[0]} --help' for help.\n\nError: No such option '{words[1]}'.\n")


def test_no_command_at_all_shows_the_help() -> None:
    result = CliRunner().invoke(main, [])
    assert result.output == CliRunner().invoke(main, ["--help"]).output


@pytest.mark.parametrize("words", [["inspect", "nowhere.onnx"], ["inspect"], ["inspect", "noise.onnx"]])
def test_with_json_an_error_is_one_object(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise.onnx").write_bytes(b"\xff" * 100)
    result = CliRunner().invoke(main, [*words, "--json"])
    error = json.loads(result.stdout)["error"]
    assert result.exit_code == error["status"] == 2
    assert error["message"]
    assert error["type"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_an_interrupted_command_has_status_130() -> None:
    command = [sys.executable, "-m", "fastgru", "demo", "--length", "100000"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is at work
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "fastgru: interrupted"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_breaks_no_word(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"], terminal_width=60)
    for option in (o for p in main.get_command(main.make_context("m", ["help"]), name).params for o in p.opts):
        if option.startswith("--"):
            assert option in result.output
    assert all(not line.rstrip().endswith("-") for line in result.output.splitlines())


def test_what_makes_something_tells_of_it_as_json(gru_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(gru_onnx.parent)
    np.save("x.npy", np.zeros((4, 2, 3), np.float32))
    for words, expected in (
        ("run small.onnx --input x.npy --only Y_h", {"shape": [1, 2, 5]}),
        ("run small.onnx --input x.npy --output y.npz", {"output": "y.npz"}),
        ("convert small.onnx small.safetensors", {"output": "small.safetensors"}),
        ("warmup small.onnx", {"files": ["small.onnx"]}),
        ("demo --length 5", {"text": "the c", "holds": True}),
    ):
        result = CliRunner().invoke(main, [*words.split(), "--json"])
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        found |= found.get("outputs", {}).get("Y_h", {})
        assert {name: found[name] for name in expected} == expected
    assert Path("y.npz").exists()
    assert found["characters_per_s"] > 0


LONG = (
    "adapt big.safetensors --data pairs.npz -o adapted.safetensors --window 50 --held-out 0",
    "bench --suite full --rivals none",
    "build --target linux-aarch64 -o kernels",
    "demo --length 100000",
    "memory streamed.safetensors --data x.npy",
    "quantize big.safetensors --data x.npy",
    "run big.safetensors --input x.npy",
    "score big.safetensors --input x.npz --output scored.npz",
    "verify big.safetensors --input x.npy --no-runtimes",
)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GRU of 512 units and 200,000 steps for it."""
    folder, rng = tmp_path_factory.mktemp("big"), np.random.default_rng(0)
    shapes = {"weight_ih_l0": (1536, 40), "weight_hh_l0": (1536, 512), "bias_ih_l0": (1536,), "bias_hh_l0": (1536,)}
    weights = {name: 0.05 * rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    gru = fastgru.GRU.from_torch(weights)
    gru.save(folder / "big.safetensors")
    gru.to_model(initial_state=True).save(folder / "streamed.safetensors")
    x = rng.standard_normal((200_000, 1, 40), dtype=np.float32)
    np.save(folder / "x.npy", x)
    np.savez(folder / "pairs.npz", x=x, targets=np.zeros((len(x), 1, 512), np.float32))
    np.savez(folder / "x.npz", **{f"s{i}": x[:20_000, 0] for i in range(30)})
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("typed", LONG, ids=lambda typed: typed.split()[0])
def test_every_long_command_is_interrupted_with_status_130(typed: str, big: Path) -> None:
    """The signal goes to the whole group of processes, as Ctrl-C does; a process that still starts gets more time."""
    for wait_s in (1.2, 3, 9):
        command = [sys.executable, "-m", "fastgru", *typed.split()]
        with child(
            command, cwd=big, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            time.sleep(wait_s)
            assert process.poll() is None, "it ended before it was interrupted"
            os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=60)
        if process.returncode != -signal.SIGINT and "KeyboardInterrupt" not in said:
            break
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "fastgru: interrupted"
