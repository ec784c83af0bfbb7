"""The command line as a whole: help, errors, what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

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
