"""Which target is chosen, what its name says, and what the environment has to say in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from slowness import within

from fastgru.errors import FastGRUError
from fastgru.simd import target as targets
from fastgru.simd.target import TARGETS, Target, best, parse, runnable, why_not_runnable

SCRIPT = """
import json, sys
from fastgru.simd import target as t
print(json.dumps([t.TARGET.name, t.VECTOR_BYTES, t.REGISTERS, t.HAS_FMA, t.IS_X86, t.DOT_INT8, t.DOT_BFLOAT16, t.AMX]))
"""
ON_LINUX_X86 = pytest.mark.skipif(best()[:2] != ("linux", "x86-64"), reason="names are those of linux-x86-64")


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("FASTGRU_TARGET", "FASTGRU_TUNE")}
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, text=True, check=False, timeout=within(120)
    )


def chosen(**environment: str) -> list[object]:
    done = run(SCRIPT, **environment)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_the_best_level_is_chosen_by_features_whatever_numba_is_told() -> None:
    assert chosen()[0] == best().name
    assert chosen(NUMBA_CPU_NAME="x86-64-v2", NUMBA_CPU_FEATURES="+sse3") == chosen()


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("linux-x86-64-v2", [16, 16, False, True, "", "", ""]),
        ("linux-x86-64-v3", [32, 16, True, True, "", "", ""]),
        ("windows-x86-64-v3+vnni", [32, 16, True, True, "vnni", "", ""]),
        ("linux-x86-64-v4", [64, 32, True, True, "", "", ""]),
        ("linux-x86-64-v4+amx-emulated", [64, 32, True, True, "", "", "emulated"]),
        ("macos-x86-64-v4+vnni", [64, 32, True, True, "vnni", "", ""]),
        ("linux-x86-64-v4+vnni+bf16", [64, 32, True, True, "vnni", "avx512", ""]),
        ("linux-x86-64-v4+amx", [64, 32, True, True, "vnni", "avx512", "tiles"]),
        ("linux-aarch64", [16, 32, True, False, "", "", ""]),
        ("macos-aarch64+dotprod", [16, 32, True, False, "sdot", "", ""]),
        ("linux-aarch64+i8mm+bf16", [16, 32, True, False, "sdot", "neon", ""]),
    ],
)
def test_the_constants_are_those_of_the_target_on_every_machine(name: str, constants: list[object]) -> None:
    assert chosen(FASTGRU_TARGET=name) == [name, *constants]


def test_a_name_is_read_whole_without_the_system_and_as_a_level() -> None:
    for target in TARGETS:
        assert parse(target.name) == target
    for target in runnable():
        assert parse(target.short) == target
        assert parse(f" {(target.level or target.short).upper()} ") == target


@ON_LINUX_X86
@pytest.mark.parametrize("name", ["mmx", "avx512", "linux", "x86-64", "v4+bf16", "linux-v3", "aarch64+sve"])
def test_an_unknown_name_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(FastGRUError) as raised:
        parse(name, "FASTGRU_TARGET")
    for part in (f"FASTGRU_TARGET is {name!r}", "expected one of v2, v3,", "aarch64+dotprod", "macos-"):
        assert part in str(raised.value)


def test_the_message_tells_the_variable() -> None:
    assert "FASTGRU_TARGET is 'mmx', expected one of" in run(SCRIPT, FASTGRU_TARGET="mmx").stderr


@pytest.mark.parametrize("tune", ["fast", "0"])
def test_a_tuning_that_is_none_is_refused(tune: str) -> None:
    assert f"FASTGRU_TUNE is '{tune}', expected native" in run("import fastgru.simd.target", FASTGRU_TUNE=tune).stderr


def test_tuning_is_for_this_machine() -> None:
    other = next(target.name for target in TARGETS if target[:2] != best()[:2])
    done = run("import fastgru.simd.target", FASTGRU_TUNE="native", FASTGRU_TARGET=other)
    assert "FASTGRU_TUNE=native is for this CPU" in done.stderr


def test_a_target_that_cannot_run_here_is_refused_before_anything_runs() -> None:
    other = next(target.name for target in TARGETS if why_not_runnable(target))
    done = run("from fastgru.simd.native import load_object; load_object(b'', 'x')", FASTGRU_TARGET=other)
    assert f"FASTGRU_TARGET is {other}, which cannot run here: this" in done.stderr


@ON_LINUX_X86
@pytest.mark.parametrize(
    ("lacking", "level"),
    [
        ("", "v4+amx"),
        ("amx-int8", "v4+vnni+bf16"),
        ("amx-int8 avx512bf16", "v4+vnni"),
        ("avx512vnni", "v4"),
        ("avx512cd", "v3+vnni"),
        ("avx512f avxvnni", "v3"),
        ("avx512f fma", "v2"),
    ],
)
def test_the_best_level_is_the_highest_that_has_all_it_needs(
    monkeypatch: pytest.MonkeyPatch, lacking: str, level: str
) -> None:
    features = {name: name not in lacking.split() for target in TARGETS for name in target.needs}
    monkeypatch.setattr(targets, "host_features", lambda: features)
    monkeypatch.setattr(targets, "why_no_tiles", lambda: "")
    assert best() == Target("linux", "x86-64", level)


@ON_LINUX_X86
def test_where_amx_is_not_let_in_the_level_below_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    features = {name: True for target in TARGETS for name in target.needs}
    monkeypatch.setattr(targets, "host_features", lambda: features)
    monkeypatch.setattr(targets, "why_no_tiles", lambda: "it was not granted")
    assert best() == Target("linux", "x86-64", "v4+vnni+bf16")
    assert why_not_runnable(Target("linux", "x86-64", "v4+amx")) == "it was not granted"
    assert Target("linux", "x86-64", "v4+amx-emulated") in runnable()


@ON_LINUX_X86
def test_a_cpu_below_every_level_is_told_how_it_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "host_features", lambda: {"sse3": True})
    with pytest.raises(FastGRUError, match=r"this CPU has no cx16, .*x86-64-v2.*FASTGRU_TUNE=native"):
        best()
    monkeypatch.setattr(targets, "TUNED", True)
    assert best().level == "v2"
