"""The recipe of the page "Beyond one server": one of two servers is drained, then the other one is killed.

`pytest -m slow tests/serve/test_across_servers.py` does so under 200 sequences of 50 frames a second.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from slowness import within

import fastgru
from bench.serve.models import save_gru
from bench.serve.process import free_port

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")
if shutil.which("nginx") is None:
    pytest.skip("not installed: nginx", allow_module_level=True)
if not sys.platform.startswith("linux"):
    pytest.skip("the workers of nginx are looked for in /proc", allow_module_level=True)

from fleet import Fleet, Load

PAGES = Path(__file__).parents[2] / "docs" / "pages"


def file_of(page: str, name: str) -> str:
    text = (PAGES / page).read_text(encoding="utf-8")
    (body,) = re.findall(rf"^<!-- server: {re.escape(name)} -->\n\n?```\w+\n(.*?)^```$", text, re.M | re.S)
    return str(body)


def go_through(folder: Path, count: int, steps: int) -> Load:
    """Drain the first server, kill the second, and start its successor, while every client goes on."""
    path = save_gru(folder / "gru.safetensors", 64)
    model, port = fastgru.load(path), free_port()
    (folder / "move.py").write_text(file_of("scaling.md", "move.py"))
    frames = np.random.default_rng(0).standard_normal((61, 1, 1, 64), dtype=np.float32)
    fleet = Fleet(path, folder, port, file_of("serving.md", "nginx.conf"))
    first, second = fleet.servers
    with fleet.running():
        with Load(port, count, frames, 50.0) as load:
            load.wait(steps)
            held = {each["id"] for each in first.sequences()}
            assert held
            assert {each["id"] for each in second.sequences()} == set(range(1, count + 1)) - held
            fleet.front.write(down=1)
            fleet.front.reload()
            words = [sys.executable, str(folder / "move.py"), str(first.socket), str(second.socket), "gru"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=within(60), check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout.split()[0] == str(len(held)), done.stdout
            assert first.sequences() == []
            assert first.stop() == 0
            load.wait(steps)
            second.kill()
            second.start()
            load.wait(steps)
        assert len(second.sequences()) == count
        assert second.stop() == 0
    for server in fleet.servers:
        assert "Traceback" not in server.log.read_text(errors="replace")
    load.check(model)
    total = sum(len(client.outputs) for client in load.clients)
    lost = sum(client.outputs.count(None) for client in load.clients)
    print(
        f"{count} sequences, {total:,} steps, {sum(client.retried for client in load.clients):,} of them sent again,"
        f" {lost} answers lost whose step the error named; {len(held)} sequences moved"
    )
    return load


def test_one_server_is_drained_and_the_other_killed(tmp_path: Path) -> None:
    load = go_through(tmp_path, 12, 20)
    assert sum(client.retried for client in load.clients) > 0


@pytest.mark.slow
def test_the_same_under_200_sequences_of_50_frames_a_second(tmp_path: Path) -> None:
    go_through(tmp_path, 200, 150)
