"""What is built: the same code for levels that agree on what it uses, whichever process builds it, for every target."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from objects import examine
from slowness import within

from fastgru.kernels.registry import handler
from fastgru.simd.target import TARGETS, Target

WORKER = Path(__file__).parent / "built_worker.py"
FEW = ("linear_float32", "linear_int8_float32", "gru_step_reset_after_bfloat16_float32", "int8_quantise_float32",
       "bfloat16_panel_float32", "run_alone")  # fmt: skip


def built(target: str, *names: str, **settings: str) -> dict[str, list[str]]:
    paths = [str(WORKER.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FASTGRU_TARGET": target, **settings}
    command = [sys.executable, str(WORKER), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within(1800), check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


def agreeing(one: dict[str, list[str]], other: dict[str, list[str]]) -> list[str]:
    """The entries that both keep at one level, whose code must be the same."""
    names = [name for name in one if one[name][0] == other[name][0]]
    assert [name for name in names if one[name] != other[name]] == []
    return names


def test_levels_that_agree_on_what_an_entry_uses_share_its_code() -> None:
    """A feature that an entry uses and does not declare shows as other code, or stops LLVM."""
    low, high = built("v4", *FEW, PYTHONHASHSEED="1"), built("v4+vnni+bf16", *FEW, PYTHONHASHSEED="2")
    assert agreeing(low, high) == sorted({"linear_float32", "gru_step_reset_after_bfloat16_float32", "run_alone"})
    assert {high[name][0] for name in ("linear_int8_float32", "int8_quantise_float32")} == {"v4+vnni"}
    assert high["bfloat16_panel_float32"][0] == "v4+vnni+bf16"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "levels",
    [("v3", "v3+vnni"), ("v4", "v4+vnni", "v4+vnni+bf16", "v4+amx", "v4+amx-emulated"),
     ("linux-aarch64", "linux-aarch64+dotprod", "linux-aarch64+i8mm+bf16")],
)  # fmt: skip
def test_all_levels_that_agree_on_what_any_entry_uses_share_its_code(levels: tuple[str, ...]) -> None:
    lowest, *others = map(built, levels)
    for other in others:
        assert len(agreeing(lowest, other)) > 100


def check_heads(target: Target, *names: str) -> None:
    entries = built(target.name, *names)
    assert entries
    for name, (_, code) in entries.items():
        found = examine(base64.b64decode(code))
        form = {"linux": "elf", "macos": "macho", "windows": "coff"}[target.system]
        assert (found.form, found.machine) == (form, target.architecture), name
        text = found.sections[{"elf": ".text", "macho": "__text", "coff": ".text"}[form]]
        assert text >= (16 if target.is_x86 else 4), name
        assert all(align <= 64 and align & (align - 1) == 0 for align in found.sections.values()), name


# Each system and architecture at its highest level, and all levels that travel in wheels.
SHIPPED = [each for each in TARGETS if each.system == "linux" or (each.system, each.is_x86) == ("macos", False)]
OTHERS = [
    Target("macos", "x86-64", "v3"),
    Target("windows", "x86-64", "v4+amx"),
    Target("windows", "aarch64", "dotprod"),
]


@pytest.mark.parametrize("target", SHIPPED + OTHERS, ids=lambda target: target.name)
def test_a_few_entries_are_objects_of_their_target(target: Target) -> None:
    check_heads(target, "softmax_float32", "int8_panel_float32", "change_mode")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_all_entries_are_objects_of_their_target(target: Target) -> None:
    """Each at the level that it is kept at."""
    check_heads(target, "own")


def asked(target: str, code: str) -> subprocess.CompletedProcess[str]:
    paths = [str(WORKER.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FASTGRU_TARGET": target}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within(600), check=False)


LOWERED = """
import llvmlite.binding as llvm
from fastgru.kernels.table import find
from fastgru.simd import compiler, target
from fastgru.simd.native import target_machine

whole, made = compiler._Unlinked.whole, []
compiler._Unlinked.whole = lambda library: made.append(whole(library)) or made[-1]
for name in ("softmax", "int8_panel"):
    find(name, "float32").recipe.compile("f", target.TARGET)
for module in made:
    assert module.triple == target.TARGET.triple, module.triple
    assert module.data_layout == str(target_machine().target_data), module.data_layout
    assert "llvm.x86" not in str(module) and "x86_64" not in str(module)
print(len(made))
"""


@pytest.mark.parametrize("target", ["linux-aarch64", "macos-aarch64+i8mm+bf16"])
def test_what_numba_lowers_is_of_the_target_and_of_nothing_else(target: str) -> None:
    done = asked(target, LOWERED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


IDENT = """
from fastgru.kernels.table import find
from fastgru.simd import compiler, target

whole, made = compiler._Unlinked.whole, []
compiler._Unlinked.whole = lambda library: made.append(whole(library)) or made[-1]
find("run_alone").recipe.compile("f", target.TARGET)
(said,) = [line for module in made for line in str(module).splitlines()
          if line.startswith("declare") and "PyThread_get_thread_ident" in line]
print(said.split()[1])
"""


@pytest.mark.parametrize(("target", "told"), [("windows-x86-64-v3", "i32\n"), ("linux-x86-64-v3", "i64\n")])
def test_a_long_of_c_has_the_size_that_the_system_gives_it(target: str, told: str) -> None:
    """What is beyond it in the register is anything."""
    done = asked(target, IDENT)
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")


@pytest.mark.parametrize("code", [b"", b"no object code at all", b"\x7fELF\x01\x01\x01\x00" + bytes(60)])
def test_what_is_no_object_is_told(code: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        examine(code)


def test_an_entry_that_uses_what_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing: uses mmx, expected some of vnni, bf16"):
        handler("nothing", "float32", uses=("vnni", "mmx"))(lambda dtype: None)


@pytest.mark.parametrize(
    ("level", "uses", "home"),
    [
        ("v4+amx", (), "v4"),
        ("v4+amx", ("vnni",), "v4+vnni"),
        ("v4+amx", ("bf16",), "v4+vnni+bf16"),
        ("v4+amx", ("vnni", "amx"), "v4+amx"),
        ("v4+vnni", ("bf16", "amx"), "v4"),
        ("v4+amx-emulated", ("vnni",), "v4"),
        ("v4+amx-emulated", ("vnni", "amx"), "v4+amx-emulated"),
        ("v3+vnni", ("vnni", "amx"), "v3+vnni"),
        ("v3", ("vnni",), "v3"),
    ],
)
def test_an_entry_is_kept_at_the_lowest_level_that_agrees(level: str, uses: tuple[str, ...], home: str) -> None:
    assert Target("linux", "x86-64", level).home(uses).level == home


@pytest.mark.parametrize(
    ("level", "uses", "home"),
    [("i8mm+bf16", ("dotprod",), "dotprod"), ("dotprod", ("bf16", "i8mm"), ""), ("i8mm+bf16", (), "")],
)
def test_on_arm_as_well(level: str, uses: tuple[str, ...], home: str) -> None:
    assert Target("macos", "aarch64", level).home(uses).level == home
