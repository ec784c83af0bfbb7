"""Memory that is given back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from protocol_models import stateful

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")


RUN = """
import re, sys
from pathlib import Path
import numpy as np
import fastgru
from fastgru.serve.resident import give_back_code

def resident():  # KiB of the code of LLVM
    maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    sizes = [re.search(r"^Rss: +(\\d+)", text, re.MULTILINE) for text in maps if "libllvmlite" in text]
    return sum(int(found[1]) for found in sizes if found)

model, x = fastgru.load(sys.argv[1]), np.full((3, 1, 8), 0.5, np.float32)
before, held = model.stream().push(x), resident()
give_back_code()
assert resident() < max(held, 1), (held, resident())
np.testing.assert_array_equal(model.stream().push(x), before)
assert model.stream(2).push(np.zeros((17, 2, 8), np.float32)).shape == (17, 2, 3)  # another program
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_code_of_llvm_is_given_back_and_runs_again(tmp_path: Path) -> None:
    stateful().save(tmp_path / "m.safetensors")
    command = [sys.executable, "-c", RUN, str(tmp_path / "m.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr


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
