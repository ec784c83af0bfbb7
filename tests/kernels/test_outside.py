"""Handlers outside of the package: an entry of the cache is used until the source of its handler changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from slowness import within

HANDLER = """
from fastgru.kernels.registry import handler
from helper import FACTOR

@handler("outside", "float32")
def outside(dtype):
    def handle(operands, bases, team):
        bases[0] = operands[0] * FACTOR
    return handle
"""

RUN = """
import sys
SOURCE
from fastgru.kernels.table import find
native = find("outside", "float32")
assert native.address
print(native.state)
"""


def state(folder: Path, source: str = "import outside") -> str:
    """The state of the handler in a process of its own, which has run `source`."""
    environment = {**os.environ, "FASTGRU_CACHE_DIR": str(folder / "cache"), "FASTGRU_QUIET": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
    command = [sys.executable, "-c", RUN.replace("SOURCE", source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within(240), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_changed_source_compiles_the_handler_again(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("FACTOR = 2\n")
    (tmp_path / "outside.py").write_text(HANDLER)
    assert [state(tmp_path) for _ in range(2)] == ["compiled", "cached"]
    (tmp_path / "outside.py").write_text(HANDLER.replace("* FACTOR", "+ FACTOR"))
    assert [state(tmp_path) for _ in range(2)] == ["compiled", "cached"]
    (tmp_path / "helper.py").write_text("FACTOR = 3\n")
    assert [state(tmp_path) for _ in range(2)] == ["compiled", "cached"]


def test_a_handler_in_no_file_is_not_kept(tmp_path: Path) -> None:
    source = f"exec(compile({HANDLER.replace('from helper import FACTOR', 'FACTOR = 2')!r}, '<cell>', 'exec'))"
    assert [state(tmp_path, source) for _ in range(2)] == ["compiled", "compiled"]
