"""Memory that is given back."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from protocol_models import normal, stateful

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")

from fastgru.serve.resident import give_back_code


def resident(library: str) -> int:
    """KiB of the code of a library."""
    maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    return sum(
        int(found[1]) for text in maps if library in text and (found := re.search(r"^Rss: +(\d+)", text, re.MULTILINE))
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_code_of_llvm_is_given_back_and_runs_again() -> None:
    x = normal(3, 1, 8)
    before = stateful().stream().push(x)
    held = resident("libllvmlite")
    give_back_code()
    assert resident("libllvmlite") < max(held, 1)
    np.testing.assert_array_equal(stateful().stream().push(x), before)
    assert stateful().stream(2).push(normal(17, 2, 8)).shape == (17, 2, 3)  # another program


def test_a_server_whose_kernels_are_there_has_no_numba(tmp_path: Path) -> None:
    stateful().save(tmp_path / "m.safetensors")
    code = (
        "import os, signal, sys, fastgru.serve\n"
        "def started(server):\n"
        "    print('numba' in sys.modules)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "fastgru.serve.run(sys.argv[1], port=0, started=started)\n"
    )
    for _ in range(2):  # the first may compile
        command = [sys.executable, "-c", code, str(tmp_path / "m.safetensors")]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250).stdout
    assert said == "False\n"
