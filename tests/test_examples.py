"""The programs of docs/examples/ run as docs/pages/examples.md says, and print what stands there.

`python tests/test_examples.py` writes their outputs into the page.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from chromium import EXECUTABLE, chromium
from example_files import EXAMPLES, make_example_files
from readme_files import make_readme_files
from slowness import within
from users import child

import fastgru
from bench.serve.process import Process, fastgru_server, free_port

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "pages" / "examples.md"
GTCRN = ROOT.parent / "shared" / "models" / "gtcrn" / "gtcrn_simple.onnx"
_BLOCK = re.compile(
    r"(?<=^<!-- example -->\n```console\n)\$ (?P<command>.*)\n(?P<output>(?:.*\n)*?)(?=```$)", re.MULTILINE
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TIME = re.compile(r"(median|p99|largest|took) [\d.]+ us|^\d+ missed", re.MULTILINE)
COMMANDS = {
    match["command"].split()[1].split("/")[-1]: (match["command"], match["output"])
    for match in _BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
}

# In the stead of the sound card: a thread that calls back, though not at the pace of the sound.
SOUNDDEVICE = """
import threading
import numpy as np

class Stream:
    def __init__(self, *, samplerate, blocksize, channels, dtype, latency, callback):
        self.blocks = [np.zeros((blocksize, channels), dtype) for _ in range(2)]
        self.count, self.callback = samplerate // blocksize, callback
    def __enter__(self):
        thread = threading.Thread(target=self.play)
        thread.start()
        thread.join()
    def __exit__(self, *_):
        pass
    def play(self):
        for k in range(self.count):
            self.blocks[0][:, 0] = np.sin(0.05 * (k * len(self.blocks[0]) + np.arange(len(self.blocks[0]))))
            self.callback(*self.blocks, len(self.blocks[0]), None, 0)
        np.save("played.npy", self.blocks[1])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    make_files(folder)
    return folder


def make_files(folder: Path) -> None:
    make_readme_files(folder)
    make_example_files(folder)
    (folder / "sounddevice.py").write_text(SOUNDDEVICE, encoding="utf-8")
    (folder / "docs").symlink_to(ROOT / "docs")
    if GTCRN.exists():
        (folder / GTCRN.name).symlink_to(GTCRN)


def run(command: str, folder: Path) -> str:
    """What a command of the page prints."""
    words = shlex.split(command)
    assert words[0] == "python"
    path = os.pathsep.join([str(ROOT), str(folder)])
    done = subprocess.run(
        [sys.executable, "-W", "error", *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=within(120),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_shows_every_example() -> None:
    names = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".html"))
    shown = re.findall(r"^<!-- example: (.*\..*) -->$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == names
    assert {*COMMANDS, "service.py", "browser_client.html"} == set(names)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.*")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    if path.suffix == ".py":
        assert f"python docs/examples/{path.name} " in str(ast.get_docstring(ast.parse(text)))


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_prints_what_the_page_says(name: str, folder: Path) -> None:
    command, said = COMMANDS[name]
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for package in ("pandas", "soundfile"):
        if f"import {package}" in text:
            pytest.importorskip(package, reason=f"not installed: {package}, of the extra `examples`")
    if "gtcrn" in command and not GTCRN.exists():
        pytest.skip("not there: ../shared/models/gtcrn")
    assert_same(_TIME.sub("", run(command, folder)), _TIME.sub("", said))


def assert_same(printed: str, said: str) -> None:
    """Numbers may differ in their last digit: another target has other bits."""
    assert _NUMBER.sub("0", printed).split() == _NUMBER.sub("0", said).split()
    for now, then in zip(_NUMBER.findall(printed), _NUMBER.findall(said), strict=True):
        assert float(now) == pytest.approx(float(then), rel=0.01, abs=0.011)


def test_the_sound_card_hears_the_model(folder: Path) -> None:
    """The last block that the driver got is that of the whole sound run at once."""
    run(COMMANDS["sound_card.py"][0], folder)
    played = np.load(folder / "played.npy")
    sound = np.sin(0.05 * np.arange(750 * 64)).astype(np.float32)[None, :, None]
    assert np.array_equal(fastgru.load(folder / "amp.json")(sound)[0, -64:], played)


def block(mark: str) -> list[str]:
    """The bodies of the blocks with this mark above them."""
    return re.findall(
        rf"^<!-- example: {mark} -->\n```\w+\n((?:.*\n)*?)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )


@pytest.fixture
def service(folder: Path) -> Iterator[tuple[str, int]]:
    """What the service prints, and its port."""
    port = free_port()
    command = block("service")[0].splitlines()[0].removeprefix("$ ").replace("8080", str(port))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, *shlex.split(command)[1:]]
    with child(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline(), port
        process.kill()


def ask(port: int, body: bytes) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=within(30))
    with closing(connection):
        connection.request("POST", "/", body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_the_service_answers_as_the_page_says(service: tuple[str, int], folder: Path) -> None:
    printed, port = service
    _, said, command, answer = block("service")[0].splitlines()
    assert printed.strip() == said.replace("8080", str(port))
    (body,) = re.findall("-d '(.*)'", command)
    status, text = ask(port, body.encode())
    assert status == 200
    assert_same(text, answer)
    x = np.array(json.loads(body)["x"], np.float32)
    assert np.array_equal(np.array(json.loads(text)["y"], np.float32), fastgru.load(folder / "gestures.onnx")(x))
    for bad in (b"{}", b"[", b'{"x": [[[1, 2]]]}', b'{"x": [["a"]]}', b'{"x": null}'):
        status, text = ask(port, bad)
        assert status == 400, (bad, text)
        assert json.loads(text)["error"]


@pytest.mark.skipif(EXECUTABLE is None, reason="not installed: Chromium, in Debian the package chromium")
def test_the_browser_shows_what_the_page_says(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
    commands, said = block("browser")
    words = [shlex.split(line) for line in commands.splitlines()]
    assert words[0][:2] == ["fastgru", "serve"]
    assert words[1][:3] == ["python", "-m", "http.server"]
    port, files = free_port(), free_port()
    with (
        fastgru_server(ROOT / words[0][2], port, "--grpc-port", str(free_port()), log=tmp_path / "log"),
        Process([sys.executable, *words[1][1:-1], str(files)], files),
        chromium(tmp_path) as tab,
    ):
        tab.open(f"http://127.0.0.1:{files}/browser_client.html?host=127.0.0.1:{port}")
        tab.wait("document.getElementById('line').textContent === 'Connected.'")
        tab.run("document.getElementById('text').focus()")
        (typed,) = re.findall(r'^When .*"(.*)", the page says:$', PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        for letter in typed:
            tab.type(letter)
        first = "document.getElementById('guess').value.split(' ')[0]"
        assert tab.wait(f"{first} === {json.dumps(said.split()[4])}")
        assert not [event for event in tab.events if event[0] == "Runtime.exceptionThrown"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        make_files(Path(name))
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(
            _BLOCK.sub(lambda found: f"$ {found['command']}\n{run(found['command'], Path(name))}", text),
            encoding="utf-8",
        )
