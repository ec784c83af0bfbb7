"""AMX wherever this machine can run it, and what its code is made of, built anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from slowness import within

from fastgru.simd.amx_operations import BLOCK_ROWS, CONFIGURATIONS
from fastgru.simd.target import Target, why_not_runnable

HERE = Path(__file__).parent
LEVELS = ["v4+amx-emulated", "v4+amx"]


def skipped(level: str) -> None:
    if why := why_not_runnable(Target("linux", "x86-64", level)):
        pytest.skip(f"{level} does not run here: {why}")


def python(level: str, *arguments: str) -> str:
    paths = [str(HERE.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "FASTGRU_TARGET": f"linux-x86-64-{level}", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=within(900), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("level", LEVELS)
def test_the_tests_of_tiles_pass_on(level: str) -> None:
    skipped(level)
    options = "-q", "-p", "no:cacheprovider", "-W", "error"
    assert re.search(r"^\d+ passed in", python(level, "-m", "pytest", *options, str(HERE / "test_tiles.py")), re.M)


@pytest.mark.timeout(1000)
def test_tiles_and_vectors_in_their_place_give_the_same_bits() -> None:
    for level in LEVELS:
        skipped(level)
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import hashlib, lowp_cases as c;"
    code += "print(hashlib.sha256(c.tile_outputs()).hexdigest())"
    assert python(LEVELS[0], "-c", code) == python(LEVELS[1], "-c", code)


def test_tiles_are_configured_as_the_operations_want_them() -> None:
    assert len(CONFIGURATIONS) == 64 * BLOCK_ROWS
    for rows in range(1, BLOCK_ROWS + 1):
        words = CONFIGURATIONS[64 * (rows - 1) : 64 * rows]
        columns = [int.from_bytes(words[16 + 2 * t : 18 + 2 * t], "little") for t in range(8)]
        assert words[0] == 1  # the palette
        assert not any(words[1:16] + words[32:48] + words[56:])
        counts = list(words[48:56])
        assert columns == [64] * 8
        assert all(0 < count <= 16 for count in counts)
        if rows <= 16:
            assert counts[:5] == [rows] * 5
            assert counts[5:] == [16] * 3
        else:
            first, second = counts[4], counts[5]
            assert (first, second) == (16, rows - 16)
            assert counts[:4] == [first, first, second, second]
            assert counts[6:] == [16, 16]


BUILD = """
from fastgru.kernels.table import native
from fastgru.simd.target import TARGET
for op in ("bfloat16_panel", "bfloat16_panels", "int8_panel", "int8_panels", "bfloat16_gates"):
    print(op, native(op, "float32").recipe.compile(op, TARGET).hex())
"""


def test_the_code_of_amx_is_built_anywhere_and_gives_the_tiles_up() -> None:
    # VEX prefixes of LDTILECFG and TILERELEASE (49), TDPBF16PS (5C after F3), TDPBUSD (5E after 66).
    configure, release = rb"\xc4[\xe2\xc2\xa2\x82]\x78\x49[^\xc0]", rb"\xc4\xe2\x78\x49\xc0"
    floats, quads = (
        rb"\xc4\xe2[\x42\x4a\x52\x5a\x62\x6a\x72\x7a]\x5c",
        rb"\xc4\xe2[\x41\x49\x51\x59\x61\x69\x71\x79]\x5e",
    )
    for line in python("v4+amx", "-c", BUILD).splitlines():
        name, text = line.split()
        code = bytes.fromhex(text)
        found = [len(re.findall(pattern, code, re.S)) for pattern in (configure, release, floats, quads)]
        if name == "bfloat16_gates":
            assert found == [0, 0, 0, 0]
            continue
        assert found[0] >= found[1] >= 1
        own, other = (2, 3) if name.startswith("bfloat16") else (3, 2)
        assert found[own] >= 20
        assert found[other] == 0
