"""Loops that would take all time or memory end in an error, within 5 seconds and 1 GiB of a process of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="the worker bounds itself")

from hostile_loops_worker import LOOPS

WORKER = Path(__file__).with_name("hostile_loops_worker.py")
ERRORS = {
    "endless": "takes more than 100000 iterations",
    "huge": "takes more than 100000 iterations",
    "nested": "with the loops inside it, takes more than 100000 iterations",
    "nested deeply": "with the loops inside it, takes more than 100000 iterations",
    "growing": "takes .* bytes, expected at most",
    "growing fast": "takes .* bytes, expected at most",
    "growing constant": "of constants makes .* bytes",
    "stacked without end": "what a loop stacks takes .* bytes and more",
    "stacked": "takes .* bytes, expected at most",
    "wide": "takes .* bytes, expected at most",
}


@pytest.mark.parametrize("name", LOOPS)
def test_an_error_within_bounds(name):
    done = subprocess.run([sys.executable, str(WORKER), name], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["error"], "the loop ran to an end"
    assert re.search(ERRORS[name], found["error"]), found["error"]
    assert found["seconds"] < 5
    assert found["peak"] < 1 << 30
