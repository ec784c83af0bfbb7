"""docs/pages/extending.md, followed word for word: its files go into a copy of the package, its checks run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^<!-- (?P<what>check|file: (?P<path>\S+)) -->\n\n```python\n(?P<body>.*?)^```$", re.M | re.S)


def _steps() -> dict[str, tuple[dict[str, str], str]]:
    """The files and the check of every section that has some."""
    steps: dict[str, tuple[dict[str, str], str]] = {}
    text = (ROOT / "docs" / "pages" / "extending.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        files: dict[str, str] = {}
        for block in _BLOCK.finditer(section):
            if block["path"]:
                files[block["path"]] = block["body"]
            else:
                steps[section.splitlines()[0]] = (files, block["body"])
    return steps


STEPS = _steps()


@pytest.mark.parametrize("section", STEPS)
def test_the_guide_is_followed_word_for_word(section: str, tmp_path: Path) -> None:
    files, check = STEPS[section]
    shutil.copytree(ROOT / "fastgru", tmp_path / "fastgru", ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "check.py"
    script.write_text(check, encoding="utf-8")

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "FASTGRU_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )

    before = run()
    assert "UnsupportedModelError" in before.stderr, before.stderr
    for name, body in files.items():
        path = tmp_path / name
        assert not path.exists(), f"{name} is there already: the guide shows a new file"
        path.write_text(body, encoding="utf-8")
    after = run()
    assert after.returncode == 0, after.stderr
    style = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert style.returncode == 0, style.stdout


def test_the_guide_needs_as_few_files_as_it_says() -> None:
    assert {section: len(files) for section, (files, _) in STEPS.items()} == {
        "An ONNX operator made of others": 1,
        "An ONNX operator with a kernel": 5,
        "A Keras layer": 1,
    }
