"""What stands on the pages "Serving" and "Protocol" is run against a server, or read by the program it is for.

A block with `<!-- server -->` above it is for a running `fastgru serve model.onnx`; with a name, as in
`<!-- server: nginx.conf -->`, it is a file.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fleet import Front
from pages import PRINTS, run_python
from readme_files import make_readme_files
from slowness import within

from bench.serve.process import Process, fastgru_server, free_port

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"^<!-- server(?:: (?P<name>[^\n]+))? -->\n\n?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_PORT, _GRPC_PORT = 8000, 8001


class Block(NamedTuple):
    name: str | None
    kind: str
    body: str
    line: int


def blocks(page: str) -> list[Block]:
    text = (ROOT / "docs" / "pages" / page).read_text(encoding="utf-8")
    return [
        Block(found["name"], found["kind"], found["body"], text.count("\n", 0, found.start("body")) + 1)
        for found in _BLOCK.finditer(text)
    ]


def file_of(name: str) -> str:
    (body,) = (block.body for block in blocks("serving.md") if block.name == name)
    return body


def serve_words(text: str) -> list[list[str]]:
    """The arguments of every `fastgru serve` in a text."""
    return [shlex.split(line) for line in re.findall(r"fastgru serve ([^\n`]*)", text)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Path, int]]:
    folder, grpc_port = tmp_path_factory.mktemp("page"), free_port()
    make_readme_files(folder)
    options = ("--grpc-port", str(grpc_port))
    with fastgru_server(folder / "model.onnx", free_port(), *options, log=folder / "log") as process:
        yield process, folder, grpc_port
    assert process.ended == 0, (folder / "log").read_text(errors="replace")
    assert "Traceback" not in (folder / "log").read_text(errors="replace")


@pytest.mark.parametrize("page", ["serving.md", "protocol.md"])
def test_the_clients_of_a_page_run(
    page: str, server: tuple[Process, Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, folder, grpc_port = server
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "page"}
    ran = 0
    for block in blocks(page):
        body = block.body.replace(f":{_PORT}", f":{process.port}").replace(f":{_GRPC_PORT}", f":{grpc_port}")
        if block.name == "tritonclient":
            ran += run_with_tritonclient(body)
        elif block.name is not None or "fastgru serve" in body:
            continue
        elif block.kind == "python":
            printed = run_python(body, block.line, page, names)
            assert printed.splitlines() == [found["said"] for found in PRINTS.finditer(body)], f"{page}:{block.line}"
            ran += 1
        elif block.kind == "console":
            for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", body, re.MULTILINE):
                assert shell(command).strip() == output.strip(), f"{page}:{block.line}: {command}"
                ran += 1
        elif block.kind == "sh":
            shell(body)
            ran += 1
        else:
            assert block.kind == "js"
            ran += run_with_node(body)
    assert ran > 3


def shell(command: str) -> str:
    if shutil.which("curl") is None:
        pytest.skip("not installed: curl")
    done = subprocess.run(
        ["bash", "-c", f"set -e -o pipefail\n{command}"],
        capture_output=True,
        text=True,
        timeout=within(60),
        check=False,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def run_with_tritonclient(body: str) -> int:
    """In a process of its own: its sockets are left to the collector of garbage."""
    if importlib.util.find_spec("tritonclient") is None:
        print("not run, without tritonclient")
        return 0
    words = [sys.executable, "-c", body]
    done = subprocess.run(words, capture_output=True, text=True, timeout=within(60), check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [found["said"] for found in PRINTS.finditer(body)]
    return 1


def run_with_node(body: str) -> int:
    """In a browser's stead; a node without WebSocket only reads it."""
    node = shutil.which("node")
    if node is None:
        print("not run, without node: the block of a browser")
        return 0
    modern = [node, "--no-warnings", "--experimental-websocket"]
    look = [*modern, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
    has = subprocess.run(look, capture_output=True, check=False).returncode
    words = [*modern, "-e", body] if has == 0 else [node, "--check", "-"]
    done = subprocess.run(words, input=body, capture_output=True, text=True, timeout=within(60), check=False)
    assert done.returncode == 0, done.stderr
    if has == 0:
        assert done.stdout.splitlines()[-1:] == re.findall(r"console\.log\(.*\); // (\d+)$", body, re.MULTILINE)
    return 1


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def test_every_command_line_of_the_page_is_one_of_the_server() -> None:
    """Those of the unit and of the image among them."""
    from click import Context

    from fastgru.cli import main

    text = (ROOT / "docs" / "pages" / "serving.md").read_text(encoding="utf-8")
    known, of_bench = (options_of(main.get_command(Context(main), name)) for name in ("serve", "bench"))
    (measuring,) = re.findall(r"^## Measure a server$.*?^## ", text, re.M | re.S)
    named = options_in(re.sub(r"```(?:console|ini)\n.*?```", "", text.replace(measuring, ""), flags=re.S))
    assert options_in(measuring) <= of_bench
    ours = {word for words in serve_words(text) for word in words if word.startswith("--")}
    assert ours <= known | {"--help"}
    assert {f"--{name}" for name in ("unix", "insecure", "host")} <= named
    others = {
        "--serve",
        "--target",
        "--no-cache-dir",
        "--no-deps",
        "--wheel-dir",
        "--levels",
        "--only",
        "--help",
        "--now",
        "--fail",
    }
    assert named - known - others == set()


def test_the_page_has_every_endpoint_and_no_other() -> None:
    from fastgru.serve.settings import Settings
    from fastgru.serve.v2.routes import Protocol

    text = (ROOT / "docs" / "pages" / "protocol.md").read_text(encoding="utf-8")
    shown = {f"{method} {path}" for method, path in re.findall(r"^\| `([A-Z]+)` \| `(/\S+)` \|", text, re.MULTILINE)}
    missing: object = None
    routes = Protocol(missing, missing, Settings(), lambda: True).routes()  # type: ignore[arg-type]
    ours = {route.replace("{model}", "M").replace("{id}", "ID") for route in routes if "{version}" not in route}
    assert shown == ours | {"GET /metrics", "GET /v2/models/M/stream", "GET /v2/overview"}


def test_the_page_has_every_parameter_member_and_message() -> None:
    from fastgru.serve.connection import _FIELDS
    from fastgru.serve.v2 import request

    text = (ROOT / "docs" / "pages" / "protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    first = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert request._PARAMETERS | request._MEMBERS | _FIELDS.keys() <= first
    assert all(f"`{name}`" in text for fields in _FIELDS.values() for name in fields)


def test_the_page_has_every_metric_and_no_other(server: tuple[Process, Path]) -> None:
    text = (ROOT / "docs" / "pages" / "protocol.md").read_text(encoding="utf-8").partition("## Metrics")[2]
    told = shell(f"curl -s --fail http://127.0.0.1:{server[0].port}/metrics")
    assert set(re.findall(r"`((?:nv|fastgru)_\w+)`", text)) == set(
        re.findall(r"^# TYPE ((?:nv|fastgru)_\w+)", told, re.M)
    )


def test_the_file_of_settings_is_read(tmp_path: Path) -> None:
    from fastgru.serve.settings_file import read_settings

    (tmp_path / "serve.yaml").write_text(file_of("serve.yaml"))
    settings = read_settings(tmp_path / "serve.yaml")
    assert settings.models == (f"frames={tmp_path / 'model.onnx'}",)
    assert (settings.capacity, settings.idle_seconds, settings.max_body_bytes) == (50_000, 60.0, 4 << 20)


def test_models_of_a_file_are_read_as_it_says(tmp_path: Path) -> None:
    from fastgru.serve.repository import Repository
    from fastgru.serve.settings import named_models
    from fastgru.serve.settings_file import read_settings

    make_readme_files(tmp_path)
    (tmp_path / "models.yaml").write_text(file_of("models.yaml"))
    settings = read_settings(tmp_path / "models.yaml")
    repository = Repository(named_models(settings.models), settings)
    frames, wake = (repository.get(name).model for name in ("frames", "wake"))
    assert (frames.precision, wake.precision) == ("float32", "float64")
    assert wake.graph.states  # which its file has inside


def test_the_image_compiles_nothing_when_it_runs() -> None:
    """As far as it can be seen without building it: the kernels are kept where the server looks, for known targets."""
    from fastgru.simd.target import parse

    text = file_of("Dockerfile")
    assert text.index("ENV FASTGRU_CACHE_DIR=") < text.index("RUN fastgru warmup") < text.index("USER nobody")
    (targets,) = re.findall(r"--target (\S+)", text)
    assert len({parse(name) for name in targets.split(",")}) == 3
    (words,) = serve_words(" ".join(re.findall(r'"([^"]*)"', text.partition("CMD")[2])))
    assert words[0] == "/srv/model.onnx"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="not installed: systemd-analyze")
def test_the_unit_is_one_of_systemd(tmp_path: Path) -> None:
    text = file_of("fastgru@.service").replace("/opt/fastgru/bin/fastgru", sys.executable)
    (tmp_path / "fastgru@1.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "fastgru@1.service")],
        capture_output=True,
        text=True,
        timeout=within(60),
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "fastgru@" in line]
    assert ours == [], done.stderr


@pytest.mark.skipif(shutil.which("nginx") is None, reason="not installed: nginx")
def test_behind_nginx_a_session_always_meets_the_same_process(tmp_path: Path) -> None:
    """The configuration of the page, with two servers behind it: sequences go on, and both processes have some."""
    import json
    import urllib.error
    import urllib.request

    make_readme_files(tmp_path)
    sockets, port = [tmp_path / f"{i}.sock" for i in (1, 2)], free_port()
    front = Front(tmp_path, port, file_of("nginx.conf"))
    words = [sys.executable, "-m", "fastgru", "serve", str(tmp_path / "model.onnx"), "--unix"]
    servers = [subprocess.Popen([*words, str(path)], stderr=subprocess.DEVNULL) for path in sockets]
    try:
        front.__enter__()
        wait_for(lambda: all(path.exists() and is_ready(path) for path in sockets))

        def infer(session: int, **parameters: object) -> int:
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1, 40], "data": [0.1] * 40}
            body = json.dumps({"parameters": {"sequence_id": session, **parameters}, "inputs": [tensor]}).encode()
            headers = {"X-Session": str(session), "Content-Type": "application/json"}
            url = f"http://127.0.0.1:{port}/v2/models/model/infer"
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
                return int(answer.status)

        def open_sessions(path: Path) -> int:
            done = subprocess.run(
                ["curl", "-s", "--unix-socket", str(path), "http://localhost/v2/models/model/sequences"],
                capture_output=True,
                text=True,
                check=True,
            )
            return len(re.findall(r'"sequence_id"|"id"', done.stdout))

        for session in range(1, 17):
            assert infer(session, sequence_start=True) == 200
        for session in range(1, 17):
            assert infer(session) == 200
        for path in ("/v2/repository/models/model/unload", "/v2/%72epository//models/model/unload"):
            with pytest.raises(urllib.error.HTTPError, match="403") as caught:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", b"", timeout=60)
            caught.value.close()
        counts = [open_sessions(path) for path in sockets]
        assert sum(counts) == 16
        assert min(counts) > 0
    finally:
        front.__exit__()
        for process in servers:
            process.terminate()
        for process in servers:
            process.wait(within(30))


def is_ready(path: Path) -> bool:
    """Whether the server at this Unix socket has its models."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        try:
            client.connect(str(path))
            client.sendall(b"GET /v2/health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return b" 200 " in client.recv(64)
        except OSError:
            return False


def wait_for(done: object) -> None:
    import time

    assert callable(done)
    end = time.monotonic() + within(60)
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
