"""Which instruction set is chosen, and what the environment has to say in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = (
    "import json; from fastgru.simd import cpu;"
    "print(json.dumps([cpu.ISA, cpu.host_isa(), cpu.HAS_DOT_INT8, cpu.HAS_DOT_BFLOAT16]))"
)


def chosen(**environment: str) -> list[object]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("FASTGRU_ISA", "NUMBA_CPU"))}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return list(json.loads(result.stdout))


@pytest.mark.parametrize("features", ["", "+sse3", "+sse3,-avx512vnni", "+avx,+avx2"])
def test_what_the_compiler_may_not_use_is_not_used(features: str) -> None:
    assert chosen(NUMBA_CPU_FEATURES=features) == ["generic", "generic", False, False]


def test_a_name_alone_leaves_the_features_of_the_cpu() -> None:
    assert chosen(NUMBA_CPU_NAME="x86-64-v3") == chosen()


def test_a_child_of_a_process_that_was_forced_down_is_so_too() -> None:
    assert chosen(FASTGRU_ISA="generic")[0] == "generic"
    features = "+cx16,+popcnt,+sse3,+sse4.1,+sse4.2,+ssse3"
    assert chosen(FASTGRU_ISA="generic", NUMBA_CPU_NAME="x86-64-v2", NUMBA_CPU_FEATURES=features)[0] == "generic"
