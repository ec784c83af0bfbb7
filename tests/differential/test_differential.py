"""The answers of this server beside those of Triton, call by call.

Those of Triton were recorded by `python -m bench.serving.differential.record`, so that no Triton is needed here. Where
FASTGRU_TRITON names a Python whose environment has nvidia-pytriton, it is asked anew.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
pytest.importorskip("grpc", reason="needs grpcio, as a client")

from differential_server import serving

from bench.serving.differential.asking import Asker
from bench.serving.differential.comparing import Difference, differences, read_exceptions, unexplained
from bench.serving.differential.grpc_calls import run as run_grpc
from bench.serving.differential.http_calls import run
from bench.serving.differential.record import GOLDEN
from fastgru.serve.grpc.messages import message

RECORDED: dict[str, Any] = json.loads(GOLDEN.read_text())
TRITON = os.environ.get("FASTGRU_TRITON")


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    with serving() as (port, grpc_port):
        ask = Asker(port)
        run(ask)
        run_grpc(ask, grpc_port, message)
        return ask.seen


def test_every_call_was_made_to_both(ours: dict[str, Any]) -> None:
    assert sorted(ours) == sorted(RECORDED["calls"])


def test_answers_differ_only_where_the_list_says_so(ours: dict[str, Any]) -> None:
    found = [d for call, triton in RECORDED["calls"].items() for d in differences(call, triton, ours[call])]
    left, idle = unexplained(found, read_exceptions())
    assert not left, "\n".join(map(str, left))
    assert not idle, f"exceptions that nothing needs any more: {idle}"


def test_every_exception_has_a_reason() -> None:
    rows = read_exceptions()
    assert all(len(row.reason) > 20 and row.reason[-1] == "." for row in rows)
    assert [reason for reason, count in Counter(row.reason for row in rows).items() if count > 1] == []


def test_no_answer_of_ours_is_a_fault_of_the_server(ours: dict[str, Any]) -> None:
    assert [call for call, seen in ours.items() if seen["status"] in (500, "INTERNAL", "UNKNOWN")] == []


def test_a_difference_is_found() -> None:
    one = {"status": 200, "body": {"a": [1, 2.0], "b": "x"}}
    assert differences("c", one, one) == []
    other = {"status": 200, "body": {"a": [1, 2.1], "c": "x"}}
    assert [d.place for d in differences("c", one, other)] == ["body.a.1", "body.b", "body.c"]
    refused = {"status": 400, "body": {"error": "text"}}
    assert differences("c", one, refused) == [Difference("c", "status", 200, 400)]


@pytest.mark.skipif(TRITON is None, reason="FASTGRU_TRITON names no Python with nvidia-pytriton and tritonclient[all]")
def test_triton_answers_as_it_was_recorded(tmp_path: Path) -> None:
    command = [str(TRITON), "-m", "bench.serving.differential.record", str(tmp_path / "now.json")]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    now = json.loads((tmp_path / "now.json").read_text())
    assert now["triton"] == RECORDED["triton"]
    assert {call: seen for call, seen in now["calls"].items() if seen != RECORDED["calls"].get(call)} == {}
