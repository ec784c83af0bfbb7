"""Leave to use AMX: asked for once a process, and refused in words."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from fastgru.simd import permission
from fastgru.simd.cpu import host_features
from fastgru.simd.permission import why_no_tiles

HAS_AMX = host_features().get("amx-tile", False)


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(permission.sys, "platform", "linux")
    monkeypatch.setattr(permission.platform, "machine", lambda: "x86_64")
    why_no_tiles.cache_clear()
    yield
    why_no_tiles.cache_clear()


def kernel_that(answers: int, grants: int = 0) -> Callable[[int, object], int]:
    def call(what: int, argument: object) -> int:
        if what == 0x1022:
            ctypes.cast(argument, ctypes.POINTER(ctypes.c_uint64))[0] = grants  # type: ignore[arg-type]
            return 0
        assert isinstance(argument, ctypes.c_ulong)
        assert argument.value == 18
        return answers

    return call


@pytest.mark.parametrize(
    ("answers", "grants", "reason"),
    [
        (0, 1 << 18 | 1 << 17, ""),
        (0, 1 << 17, "it was not granted"),
        (errno.EINVAL, 0, "its kernel does not know how"),
        (errno.ENOSPC, 0, "an alternate signal stack that is too small"),
        (errno.EPERM, 0, "Operation not permitted"),
    ],
)
def test_a_refusal_says_why(monkeypatch: pytest.MonkeyPatch, answers: int, grants: int, reason: str) -> None:
    monkeypatch.setattr(permission, "_call", kernel_that(answers, grants))
    why = why_no_tiles()
    assert (why == "") == (reason == "")
    assert reason in why


def test_it_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(permission, "_call", lambda what, _: calls.append(what) or errno.EINVAL)
    assert why_no_tiles() == why_no_tiles()
    assert calls == [0x1023]


@pytest.mark.parametrize(("system", "machine"), [("darwin", "x86_64"), ("win32", "AMD64"), ("linux", "aarch64")])
def test_nobody_is_asked_elsewhere(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(permission.sys, "platform", system)
    monkeypatch.setattr(permission.platform, "machine", lambda: machine)
    monkeypatch.delattr(permission, "_call")
    assert "on Linux and x86-64 only" in why_no_tiles()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux gives leave")
def test_the_kernel_at_hand_answers_in_words_or_grants_it() -> None:
    why = why_no_tiles()
    assert why == "" or why.startswith("the operating system does not let this process use AMX: ")


@pytest.mark.skipif(not HAS_AMX, reason="this CPU has no AMX")
def test_the_signal_stack_of_faulthandler_is_large_enough() -> None:
    ask = "from fastgru.simd.permission import why_no_tiles; print(why_no_tiles())"
    codes = ask, f"import faulthandler; faulthandler.enable(); {ask}"
    answers = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for code in codes
    ]
    assert answers[0].stdout == answers[1].stdout
