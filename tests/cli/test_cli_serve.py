"""`fastgru serve`: its options are those of the server, and it runs until it is told to end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from users import child

import fastgru.serve
from fastgru.cli import serve
from fastgru.errors import FastGRUError
from fastgru.serve.settings import Settings

Invoke = Callable[..., Result]


@pytest.fixture
def with_extra() -> None:
    for name in fastgru.serve._NEEDED:
        pytest.importorskip(name, reason="needs the extra serve")


def test_every_field_is_an_option_and_has_its_default_in_the_help(invoke: Invoke) -> None:
    text = " ".join(invoke("serve", "--help").output.split())
    options = {name for option in serve.command.params for name in option.opts}
    for name, field in Settings.__dataclass_fields__.items():
        assert name == "models" or f"--{name.replace('_', '-')}" in options
        assert name == "models" or " ".join(field.metadata["doc"].split())[:40] in text
    for shown in ("[default: 8000]", "[default: 16 MiB]", "[default: 300]", "[default: 0600]"):
        assert shown in text


def test_a_missing_extra_is_one_line_with_the_command(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastgru.serve, "find_spec", lambda name: None if name in ("uvicorn", "orjson") else object())
    result = invoke("serve", "a.onnx")
    assert result.exit_code == 2
    assert result.stderr == (
        "fastgru: error: the server needs packages that are not installed (uvicorn, orjson): install fastgru with its"
        " extra serve, in a clone by pip install '.[serve]'\n"
    )


@pytest.mark.usefixtures("with_extra")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no model to serve"),
        (("a.onnx", "--port", "http"), "--port 'http': a whole number was expected"),
        (("a.onnx", "--port", "-1"), "--port -1: at least 0"),
        (("a.onnx", "--host", "0.0.0.0"), "0.0.0.0 can be reached from other machines"),
        (("a.onnx", "--precision", "float8"), "float8"),
        (("a.onnx", "--max-body-bytes", "4 apples"), "--max-body-bytes '4 apples'"),
        (("a.onnx", "--tls-cert", "a.pem"), "--tls-cert and --tls-key go together"),
        (("a.onnx", "b/a.onnx"), "two models have the name 'a'"),
        (("none.onnx", "--port", "0"), "none.onnx: No such file"),
        (("a.onnx", "--api-key-file", "none.txt"), "none.txt: No such file"),
        (("a.onnx", "--allow-origin", "example.org"), "no origin"),
    ],
)
def test_what_cannot_be_is_an_error(
    invoke: Invoke, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("serve", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("with_extra")
def test_options_go_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> None:
    found: list[Settings] = []

    def stop(settings: Settings) -> None:
        found.append(settings)
        raise FastGRUError("enough")

    import fastgru.serve.assembly

    monkeypatch.setattr(fastgru.serve.assembly, "Assembly", lambda models, settings, **_: stop(settings))
    path = tmp_path / "serve.yaml"
    path.write_text("models: [gru.onnx]\nport: 1\nmax_body_bytes: 2 MiB\ninsecure: true\nhost: 0.0.0.0\n")
    result = invoke("serve", "--config", path, "--port", "2", "--idle-seconds", "7.5")
    assert "enough" in result.stderr
    result = invoke("serve", "--config", path, "x=other.onnx")
    first, second = found
    assert (first.port, first.idle_seconds, first.max_body_bytes, first.insecure) == (2, 7.5, 2 << 20, True)
    assert first.models == (f"gru={tmp_path / 'gru.onnx'}",)
    assert (second.models, second.port) == (("x=other.onnx",), 1)


@pytest.mark.usefixtures("with_extra")
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("form", ["text", "json"])
def test_it_serves_until_it_is_told_to_end(gru_onnx: Path, form: str) -> None:
    command = [sys.executable, "-m", "fastgru", "serve", str(gru_onnx), "--port", "0", "--log-format", form]
    lines = []
    with child(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if match := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        with urllib.request.urlopen(f"{match[0]}/v2/models/small", timeout=20) as reply:
            assert json.load(reply)["inputs"][0]["name"] == "x"
        process.send_signal(signal.SIGTERM)
        lines += process.stderr.read().splitlines()
        assert process.wait(20) == 0
    assert not any("warning" in line.lower() for line in lines), lines
    start = next(line for line in lines if match[0] in line)
    assert "small (float32)" in start
    if form == "json":
        made = [json.loads(line) for line in lines if line.startswith("{")]
        assert [line["event"] for line in made] == ["load", "start", "drain", "stop"]
        assert made[1]["urls"] == [match[0]]
