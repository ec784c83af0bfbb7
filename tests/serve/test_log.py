"""The log: lines for people and for programs, and not one for each request that is refused."""

from __future__ import annotations

import io
import json
import logging
import re
from collections import Counter

import pytest

from fastgru.serve.gate import Gate
from fastgru.serve.log import Refusals, event, set_up
from fastgru.serve.settings import Settings


def lines(form: str) -> list[str]:
    """What is written of three lines."""
    stream = io.StringIO()
    undo = set_up(form, stream)
    try:
        event("load", "model a is loaded\nFAKE line", model="a")
        logging.getLogger("uvicorn.error").info("chatter")
        logging.getLogger("uvicorn.error").warning("a warning of uvicorn")
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("fastgru.serve").exception("it failed\n")
    finally:
        undo()
    event("stop", "not written")
    return stream.getvalue().splitlines()


def test_text_is_a_line_with_its_time() -> None:
    first, second, third, *trace = lines("text")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    model a is loaded\\nFAKE line", first)
    assert second.endswith("WARNING a warning of uvicorn")
    assert third.endswith("ERROR   it failed")
    assert trace[0].startswith("Traceback")
    assert trace[-1] == "ValueError: why"


def test_json_is_an_object_a_line() -> None:
    first, second, third = map(json.loads, lines("json"))
    assert (first["event"], first["level"], first["model"]) == ("load", "info", "a")
    assert first["message"] == "model a is loaded\nFAKE line"
    assert (second["event"], second["message"]) == ("log", "a warning of uvicorn")
    assert "ValueError: why" in third["exception"]


def test_the_loggers_are_left_as_they_were() -> None:
    found = [
        (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in ("uvicorn.error", "asyncio")
    ]
    lines("text")
    assert found == [
        (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in ("uvicorn.error", "asyncio")
    ]


def test_refusals_are_told_by_reason_at_most_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    counts: Counter[str] = Counter()
    refusals = Refusals(counts)
    with caplog.at_level(logging.INFO, "fastgru.serve"):
        refusals.look(0.0)
        assert caplog.messages == []
        counts["key"] += 1
        refusals.look(1.0)
        counts["key"] += 500
        counts["host"] += 2
        refusals.look(2.0)
        refusals.look(10.5)
        assert caplog.messages == ["1 request refused: key", "2 requests refused: host"]
        refusals.look(11.0)
        refusals.look(30.0)
    assert caplog.messages[2:] == ["500 requests refused: key"]


def test_refusals_tell_what_the_last_one_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(Settings())
    gate.refuse("key", "POST /v2/models/a/infer from 10.0.0.1")
    gate.refuse("key", "POST /v2/models/b/infer from 10.0.0.2")
    with caplog.at_level(logging.INFO, "fastgru.serve"):
        gate._refusals.look(0.0)
    assert caplog.messages == ["2 requests refused: key; the last: POST /v2/models/b/infer from 10.0.0.2"]
