"""The sums of a product stay in registers: one that a loop stores and loads again makes every k wait for memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from slowness import within

WORKER = Path(__file__).parent / "assembly_worker.py"
PRODUCTS = ("gemm_panel_float32", "gemm_panel_float64", "gemm_gates_float32", "gemm_pair_float32")

LABEL = re.compile(r"^(\.?L\w+):")
JUMP = {
    "x86": re.compile(r"^\s+j\w+\s+(\.?L\w+)"),
    "arm": re.compile(r"^\s+(?:b\.\w+|cbn?z\s+\w+,|tbn?z\s.*,)\s+(\.?L\w+)"),
}
FMA = re.compile(r"^\s+(?:vf?n?m(?:add|sub)\d+p|v?mulp|fml[as]\s)")
SPILL = {
    "x86": re.compile(r"^\s+v?mov[au]p[sd]\s+%[xyz]mm\d+, [-\w]*\(%rsp"),
    "arm": re.compile(r"^\s+st[up]r?\s+q\d+,.*\[sp"),
}


def innermost(text: str, machine: str) -> list[list[str]]:
    """The bodies of the loops that have no loop within."""
    lines = text.splitlines()
    labels = {found[1]: i for i, line in enumerate(lines) if (found := LABEL.match(line))}
    jumps = [
        (labels.get(found[1], len(lines)), i) for i, line in enumerate(lines) if (found := JUMP[machine].match(line))
    ]
    loops = {(begin, end) for begin, end in jumps if begin < end}
    inner = [(b, e) for b, e in loops if not any(b <= x and y <= e and (x, y) != (b, e) for x, y in loops)]
    return [lines[begin : end + 1] for begin, end in inner]


@pytest.mark.parametrize("target", ["linux-x86-64-v3", "linux-x86-64-v4", "linux-aarch64"])
def test_no_sum_of_a_product_is_kept_in_memory(target: str) -> None:
    paths = [str(WORKER.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FASTGRU_TARGET": target}
    command = [sys.executable, str(WORKER), *PRODUCTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within(600), check=False)
    assert done.returncode == 0, done.stderr
    texts, machine = json.loads(done.stdout), "arm" if "aarch64" in target else "x86"
    assert texts.keys() == {*PRODUCTS}
    seen = 0
    for name, text in texts.items():
        for body in innermost(text, machine):
            if sum(map(bool, map(FMA.match, body))) >= 8:
                seen += 1
                spilt = [line for line in body if SPILL[machine].match(line)]
                assert not spilt, (name, *body)
    assert seen >= 4
