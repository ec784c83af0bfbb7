"""The limits that the files hold themselves to, from `[tool.fastgru.structure]` in pyproject.toml."""

from __future__ import annotations

import ast
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastgru"
STRUCTURE: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["fastgru"]["structure"]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.AST, outside: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its dotted name, the classes and functions around it included."""
    for node in ast.iter_child_nodes(tree):
        name = outside
        if isinstance(node, Function | ast.ClassDef):
            name = f"{outside}.{node.name}" if outside else node.name
        if isinstance(node, Function):
            yield name, node
        yield from _functions(node, name)


def _limits(path: Path) -> dict[str, int]:
    limits: dict[str, int] = STRUCTURE["kernels" if path.parts[0] in ("kernels", "simd") else "limits"]
    return limits


def _beyond_limits() -> dict[str, str]:
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        path = file.relative_to(PACKAGE)
        limits = _limits(path)
        for name, function in _functions(ast.parse(file.read_text())):
            arguments = function.args
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            parameters = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
            if lines > limits["lines"] or parameters > limits["parameters"]:
                found[f"{path.as_posix()}:{name}"] = f"{lines} lines, {parameters} parameters; the limits are {limits}"
    return found


def test_functions_keep_within_their_limits():
    exceptions = STRUCTURE["exceptions"]
    assert all(isinstance(reason, str) and len(reason) > 10 for reason in exceptions.values())
    beyond = _beyond_limits()
    assert {name: what for name, what in beyond.items() if name not in exceptions} == {}
    assert sorted(exceptions) == sorted(beyond), "an exception that nothing needs any more"


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a clone, and git")
def test_files_of_the_project_are_small() -> None:
    """A record or a golden file of megabytes is in every clone for ever."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip(f"git does not read this clone: {listed.stderr.strip()}")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert [str(file) for file in files if file.is_file() and file.stat().st_size > 2 << 20] == []


def test_the_folders_of_the_tests_are_those_of_the_package():
    folders = {
        path.parent.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("__init__.py")
        if len(path.relative_to(PACKAGE).parts) == 2
    }
    elsewhere = STRUCTURE["tests_elsewhere"]
    for folder, where in elsewhere.items():
        assert folder in folders, f"{folder} is no folder of the package"
        assert list(ROOT.glob(where)), f"the tests of {folder} are said to be at {where}"
    missing = [name for name in sorted(folders - set(elsewhere)) if not list((ROOT / "tests" / name).glob("test_*.py"))]
    assert missing == [], "folders whose tests have no folder of their name"
    extra = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and list(path.glob("test_*.py"))}
    assert sorted(extra - folders - set(STRUCTURE["tests_of_more"])) == []


@pytest.mark.parametrize("text", ["def f(a, b, *, c): pass", "class A:\n    async def f(self): pass"])
def test_functions_are_found_wherever_they_stand(text: str) -> None:
    assert len(list(_functions(ast.parse(text)))) == 1
