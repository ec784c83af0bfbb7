"""The README's own lines: its code runs and prints what it says, its commands end well, what it names is there."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import textwrap
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from pages import PRINTS, load_tool
from readme_files import make_readme_files

import fastgru
from fastgru.cli import main
from fastgru.cli.group import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

tool = load_tool("update_readme")
BLOCKS = tool.blocks(README)
SHOWN = [pair for block in BLOCKS if block.kind == "console" for pair in tool.commands(block.body)]
RUN_ONLY = [line for block in BLOCKS if block.kind == "sh" for line in block.body.splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_readme_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_blocks_run_in_order_and_print_what_they_say(folder: Path) -> None:
    names: dict[str, object] = {"__name__": "readme"}
    pieces = [block for block in BLOCKS if block.kind in ("python", "yaml")]
    assert len(pieces) > 5
    for block in pieces:
        if block.kind == "yaml":
            tool.write_file(block.body, folder)
            continue
        source = "\n" * (block.line - 1) + textwrap.dedent(block.body)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, "README.md", "exec"), names)
        said = [match["said"] for match in PRINTS.finditer(source)]
        if said:
            assert printed.getvalue().splitlines() == said, f"README.md:{block.line}"
        else:
            assert source.count("print(") == 0 or printed.getvalue().strip()


def test_the_recipe_of_tensorflow_1_is_its_formula(folder: Path) -> None:
    """The one recipe that no framework at hand can confirm, against the formula of GRUBlockCell."""
    names: dict[str, object] = {"np": np, "fastgru": fastgru}
    arrays = (ROOT / "docs" / "pages" / "arrays.md").read_text(encoding="utf-8")
    (block,) = (block for block in tool.blocks(arrays) if "gates_kernel" in block.body)
    exec(block.body, names)
    gru, w = names["gru"], fastgru.read_weights("weights.npz")
    assert isinstance(gru, fastgru.GRU)
    x, h = np.random.default_rng(1).standard_normal((9, 1, 12)), np.zeros((1, 24))
    y, _ = gru(x)
    for x_t, y_t in zip(x, y, strict=True):
        r, u = np.split(sigmoid(np.hstack([x_t, h]) @ w["gates_kernel"] + w["gates_bias"]), 2, axis=1)
        c = np.tanh(np.hstack([x_t, r * h]) @ w["candidate_kernel"] + w["candidate_bias"])
        h = u * h + (1 - u) * c
        np.testing.assert_allclose(y_t, h, rtol=0, atol=2e-6)
    assert np.abs(h).max() > 0.1


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_the_outputs_are_those_of_today(command: str, output: str, folder: Path) -> None:
    if command.startswith("fastgru verify"):
        pytest.importorskip("onnxruntime")
    now = tool.run(command, folder)
    assert tool.same_everywhere(command, output) == tool.same_everywhere(command, now), "run tools/update_readme.py"


def test_the_other_commands_end_well(folder: Path) -> None:
    ours = [shlex.split(line) for line in RUN_ONLY if line.startswith("fastgru ")]
    assert len(ours) >= 4
    for words in ours:
        result = CliRunner().invoke(main, words[1:])
        assert result.exit_code == 0, (words, result.output, result.exception)


def test_the_two_commands_come_first_and_are_what_they_should_be() -> None:
    venv = "python3 -m venv .venv && .venv/bin/pip install"
    first, second = (block.body.strip() for block in BLOCKS if block.kind == "sh" and "venv" in block.body)
    assert first == f"{venv} . && .venv/bin/fastgru demo"
    assert second == f"{venv} '.[test]' && .venv/bin/pytest"
    assert README.index(second) < README.index("\n## ")
    assert len(README.splitlines()) <= 250
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in ("-m venv", "venv venv '.[test]'", "bin/pytest"):
        assert part in ci


def test_the_figures_of_the_first_screen_are_those_of_the_last_measurement() -> None:
    table = (ROOT / "docs" / "pages" / "performance.md").read_text(encoding="utf-8").partition("<!-- bench: summary")[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if re.match(r"\| \d", line)]
    ratios = [float(row[3].rstrip("x")) for row in rows]
    steps = {int(row[0]): row[1] for row in rows}
    first = README.partition("\n## ")[0]
    assert f"{min(ratios):.2g} to {max(ratios):.2g} times as fast as ONNX Runtime" in first
    assert f"{min(steps)} to {max(steps):,} units. A step with 64 units takes\n{steps[64]}" in first


def test_every_command_is_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"fastgru {name}" in README, name


def test_options_that_the_readme_names_exist() -> None:
    seen = 0
    for line in re.findall(rf"fastgru (?:{'|'.join(COMMANDS)})\b[^`\n|]*", README):
        words = line.split()
        with click.Context(main) as context:
            command = main.get_command(context, words[1])
        assert command is not None
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for option in (word for word in words if word.startswith("--")):
            assert option in known | {"--help"}, line
            seen += 1
    assert seen >= 4


def test_names_that_the_readme_gives_exist() -> None:
    code = "\n".join(block.body for block in BLOCKS if block.kind == "python") + "\n".join(
        re.findall(r"`([^`\n]+)`", README)
    )
    for name in sorted(set(re.findall(r"\bfastgru\.([A-Za-z_]\w*)", code))):
        assert hasattr(fastgru, name) or importlib.util.find_spec(f"fastgru.{name}") is not None, name
    for name in sorted(set(re.findall(r"\b([A-Z]\w+(?:Error|Warning))\b", README))):
        assert name in fastgru.__all__, name


def test_every_error_is_in_the_readme() -> None:
    from fastgru import errors

    assert [name for name in errors.__all__ if f"`{name}`" not in README] == []


def test_files_that_the_readme_names_exist() -> None:
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")}
    paths = set(re.findall(r"(?<![\w./])(?:tests|tools|docs|fastgru)/[\w./-]*\w", README))
    assert links
    assert paths
    missing = [path for path in sorted(links | paths) if not (ROOT / path).exists()]
    assert not missing
