"""`fastgru bench --serve`: against a server that is told what to do, and against `fastgru serve` itself."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scripted import scripted
from users import child

import fastgru
import fastgru.serve
from fastgru.cli import main
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import GRUSpec

with socket.create_server(("127.0.0.1", 0)) as _listener:
    GRPC_PORT = _listener.getsockname()[1]
SHORT = ["--seconds", "0.4", "--warm-up", "0.1"]


def bench(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["bench", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_run_with_all_its_files(tmp_path: Path) -> None:
    page, data = tmp_path / "page.html", tmp_path / "out.json"
    with scripted() as server:
        result = bench("--serve", server.url, "--rate", 300, *SHORT, "--json", data, "--html", page)
    assert result.exit_code == 0, result.output
    assert "scripted 0 at" in result.output
    assert "x FP32 [1, 4]" in result.output
    assert "open loop: poisson arrivals" in result.output
    assert "no statistics" in result.output
    whole = json.loads(data.read_text())
    (step,) = whole["steps"]
    assert step["due"] == step["answered"] == 120
    assert step["latency_s"]["p99"] >= step["latency_s"]["p50"] > 0
    assert step["latency_s"]["p99.9"] is None
    assert whole["server_counted"]["success"] is None
    assert whole["demand"]["arrivals"] == "poisson"
    assert "<svg" in page.read_text()
    assert "300 requests/s" in page.read_text()
    assert server.came == 120 + 30 + 1 + 16  # the warm-up, the first request, and the ends of the sessions


@pytest.mark.parametrize(
    ("answer", "status", "shown"),
    [
        ((503, b'{"error": "full", "reason": "capacity"}'), 1, "capacity 40"),
        ((400, b'{"error": "never", "reason": "shape"}'), 1, '400 shape: 40 requests, for example: {"error": "never"'),
        (None, 1, "closed before the answer"),
    ],
)
def test_what_came_of_requests_is_the_exit_status(answer: Any, status: int, shown: str) -> None:
    with scripted(lambda number, said: (200, b"{}") if number == 1 else answer) as server:
        result = bench("--serve", server.url, "--rate", 100, *SHORT, "--warm-up", 0, "--stateless")
    assert result.exit_code == status
    assert shown in " ".join(result.output.split())


def test_refusals_are_no_error_where_others_are_answered() -> None:
    with scripted(lambda number, said: (200, b"{}") if number % 2 else (429, b"{}")) as server:
        result = bench("--serve", server.url, "--rate", 100, *SHORT, "--stateless", "--warm-up", 0)
    assert result.exit_code == 0, result.output
    assert "20 of 40 requests were refused: 429 20" in result.output


def test_a_ramp_tells_the_highest_rate_that_is_held(tmp_path: Path) -> None:
    """A server that refuses every other request once 150 have come: the first step has 40, the second 80, then 120."""
    full = 503, b'{"reason": "capacity"}'
    with scripted(lambda number, said: full if number > 150 and number % 2 else (200, b"{}")) as server:
        options = ["--stateless", "--arrivals", "constant", "--warm-up", 0, "--json", tmp_path / "a", "--late-ms", 5000]
        result = bench("--serve", server.url, "--ramp", "100:300:3", "--seconds", 0.4, *options)
    assert result.exit_code == 0, result.output
    assert "the highest load held, with 99 of 100 requests in time: 200 requests/s" in result.output
    assert json.loads((tmp_path / "a").read_text())["held"] == 200


def test_the_axis_of_a_chunk_is_the_one_that_the_server_takes() -> None:
    def script(number: int, said: Any) -> tuple[int, bytes]:
        return (200, b"{}") if said["inputs"][0]["shape"] == [5, 4] else (400, b"no")

    with scripted(script) as server:
        result = bench("--serve", server.url, "--chunk", 5, *SHORT)
        assert result.exit_code == 0, result.output
        assert "[5, 4]" in result.output
        result = bench("--serve", server.url, "--chunk", 6, *SHORT)
        assert result.exit_code == 2
        assert "does not take a request of a sequence of x FP32 [-1, 4]: [(6, 4)]: 400 no" in result.stderr
        result = bench("--serve", server.url, "--shape", "x=5,4", *SHORT)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "5"], "--rate is for --serve URL"),
        (["--serve", "{}", "--suite", "full"], "--suite is not for --serve"),
        (["--serve", "{}", "--threads", "2"], "--threads is not for --serve"),
        (["--serve", "{}", "--rate", "5", "--sessions", "2", "--frame-rate", "1"], "three loads"),
        (["--serve", "{}", "--sessions", "2"], "--sessions needs --frame-rate"),
        (["--serve", "{}", "--frame-rate", "2"], "--frame-rate is for"),
        (["--serve", "{}", "--ramp", "5:1:2"], "expected FROM:TO:STEPS"),
        (["--serve", "{}", "--ramp", "100"], "expected FROM:TO:STEPS"),
        (["--serve", "{}", "--rate", "1", "--seconds", "0.5"], "not one request would be due"),
        (["--serve", "{}", "--protocol", "websocket", "--stateless"], "a WebSocket is one stream"),
        (["--serve", "{}", "--stateless", "--sessions", "2", "--frame-rate", "5"], "--stateless is not for them"),
        (["--serve", "{}", "--protocol", "grpc", "--unix", "s.sock"], "cannot be reached"),
        (["--serve", "https://127.0.0.1:1", "--protocol", "grpc"], "cannot be reached"),
        (["--serve", "{}", "--model", "other"], "/v2/models/other: the server answers 404"),
        (["--serve", "{}", "--shape", "y=1"], "the inputs are x FP32 [-1, 4]"),
        (["--serve", "{}", "--shape", "x=1,5"], "x FP32 [-1, 4] cannot have it"),
        (["--serve", "{}", "--api-key", "a", "--api-key-file", __file__], "both give the key"),
        (["--serve", "{}", "--tls-cert", __file__], "--tls-cert and --tls-key go together"),
        (["--serve", "ftp://localhost"], "expected a URL as http://HOST:PORT"),
        (["--serve", "http://127.0.0.1:1"], "http://127.0.0.1:1 cannot be reached: connection refused"),
        (["--serve", "unix:/nowhere.sock"], "unix:/nowhere.sock cannot be reached"),
        (["--serve", "unix:"], "expected one path of a Unix socket"),
    ],
)
def test_what_cannot_be_is_an_error(arguments: list[str], message: str) -> None:
    with scripted() as server:
        result = bench(*(word.format(server.url) for word in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_an_interrupt_shows_what_there_is() -> None:
    with scripted() as server:
        command = [sys.executable, "-m", "fastgru", "bench", "--serve", server.url, "--rate", "50", "--seconds", "600"]
        with child([*command, "--warm-up", "0"], stdout=subprocess.PIPE, text=True) as process:
            end = time.monotonic() + 60
            while server.came < 10 and time.monotonic() < end:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "stopped before the end" in output
    assert "answers/s" in output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x (T, N, 3), h0 -> y, hn."""
    for name in fastgru.serve._NEEDED:
        pytest.importorskip(name, reason="needs the extra serve")
    shapes = {"wi": (12, 3), "wh": (12, 4), "bi": (12,), "bh": (12,)}
    weights = {name: np.full(shape, 0.1, np.float32) for name, shape in shapes.items()}
    node = Node("gru", ("x", "h0", "", "", *shapes), ("y", "hn"), {"spec": GRUSpec(3, 4).to_dict()})
    axes = ("T", "N", None)
    inputs = (
        TensorSpec("x", "float32", (None, None, 3), axes),
        TensorSpec("h0", "float32", (1, None, 4), (None, *axes[1:])),
    )
    outputs = TensorSpec("y", "float32", None), TensorSpec("hn", "float32", None)
    path = tmp_path_factory.mktemp("serving") / "gru.safetensors"
    fastgru.Model(Graph(inputs, outputs, (node,), weights, {"h0": "hn"})).save(path)
    return path


@contextmanager
def serving(model: Path, *options: object) -> Iterator[str]:
    """`fastgru serve`, and its URL."""
    options = options if "--unix" in options else ("--port", 0, *options)
    command = [sys.executable, "-m", "fastgru", "serve", str(model), *map(str, options)]
    with child(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said, found = "", None
        for line in process.stderr:
            said += line
            if found := re.search(r"https?://127\.0\.0\.1:\d+|unix:\S+|/\S+\.sock", line):
                break
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        try:
            assert found is not None, said
            yield found[0]
        finally:
            process.send_signal(signal.SIGTERM)
            reader.join(30)
            assert process.wait(30) == 0


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    with serving(model, "--grpc-port", GRPC_PORT) as url:
        yield url


@pytest.mark.parametrize(
    "options",
    [
        ["--protocol", "binary"],
        ["--protocol", "json", "--rate", 100],
        ["--protocol", "websocket", "--sessions", 5, "--frame-rate", 20],
        ["--protocol", "websocket", "--chunk", 7, "--rate", 100, "--arrivals", "constant"],
        ["--stateless", "--chunk", 3, "--connections", 2],
        ["--ramp", "2:4:2", "--frame-rate", 50],
        ["--protocol", "grpc", "--rate", 100],
        ["--protocol", "grpc", "--stateless", "--connections", 3],
        ["--protocol", "grpc", "--sessions", 3, "--frame-rate", 20, "--chunk", 1500],
    ],
)
def test_the_server_counts_what_came(url: str, options: list[object], tmp_path: Path) -> None:
    """The longest chunks have answers of gRPC that are more than one frame."""
    data = tmp_path / "out.json"
    port = ["--grpc-port", GRPC_PORT] if "grpc" in options else []
    result = bench("--serve", url, *options, *port, *SHORT, "--late-ms", 20_000, "--json", data)
    assert result.exit_code == 0, result.output
    whole = json.loads(data.read_text())
    assert whole["counts_agree"] is True
    assert whole["server_counted"]["success"] == sum(step["answered"] for step in whole["steps"]) > 0
    assert not any(step["late"] or step["connections_lost"] for step in whole["steps"])
    chunk = options[options.index("--chunk") + 1] if "--chunk" in options else 1
    assert whole["inputs"][0]["shape"] == [chunk, 1, 3]
    with urllib.request.urlopen(f"{url}/v2/models/gru/sequences", timeout=20) as reply:
        assert json.load(reply)["sequences"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs epoll")
def test_a_floor_is_measured_under_the_same_load(url: str, tmp_path: Path) -> None:
    data = tmp_path / "out.json"
    result = bench("--serve", url, "--rate", 100, *SHORT, "--floor", "--json", data)
    assert result.exit_code == 0, result.output
    assert "raw echo, 100" in result.output
    whole = json.loads(data.read_text())
    assert whole["floors"][0]["answered"] == whole["steps"][0]["answered"] == 40


def test_a_key_a_certificate_and_a_unix_socket(model: Path, tmp_path: Path) -> None:
    keys, key, cert, private = (tmp_path / name for name in ("keys.txt", "key.txt", "cert.pem", "key.pem"))
    keys.write_text(f"alice user {sha256(b'secret').hexdigest()}\n")
    key.write_text("secret\n")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(private), "-out", str(cert)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs openssl")
    with serving(model, "--api-key-file", keys, "--tls-cert", cert, "--tls-key", private) as url:
        for protocol in ("binary", "websocket"):
            options = ["--protocol", protocol, "--tls-ca", cert, *SHORT]
            result = bench("--serve", url, *options, "--api-key-file", key)
            assert result.exit_code == 0, result.output
            assert "that is not the number" not in result.output
        result = bench("--serve", url, "--tls-ca", cert)
        assert "401" in result.stderr
        result = bench("--serve", url)
        assert result.exit_code == 2
        assert "TLS: " in result.stderr
    with serving(model, "--unix", tmp_path / "s.sock"):
        for protocol in ("binary", "websocket"):
            for words in ([f"unix:{tmp_path}/s.sock"], ["http://localhost", "--unix", tmp_path / "s.sock"]):
                result = bench("--serve", *words, "--protocol", protocol, *SHORT)
                assert result.exit_code == 0, result.output
