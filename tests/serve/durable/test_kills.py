"""The process is killed, or goes down in order, while all kinds of clients go on: nothing acknowledged is lost.

`pytest -m slow tests/serve/durable` kills it a thousand times on a RAM disk, and a thousand times on disk.
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

import pytest

import fastgru
from bench.serve.models import save_gru

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")

from killing import Load, Victim

H = 64
RAM = Path("/dev/shm")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gru(tmp_path_factory.mktemp("kills") / "gru.safetensors", H)


@pytest.fixture(scope="module")
def model(path: Path) -> fastgru.Model:
    return fastgru.load(path)


def run(
    victim: Victim, model: fastgru.Model, kills: int, *, clients: int = 8, seed: int = 0, in_order: bool = False
) -> Load:
    rng = random.Random(seed)
    with victim:
        with Load(victim.port, model, clients) as load:
            for _ in range(kills):
                load.wait(rng)
                if load.faults:
                    break
                if in_order:
                    assert victim.stop() == 0
                else:
                    victim.kill()
                victim.start()
            load.wait(rng)
        assert victim.stop() == 0
    log = victim.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert "damaged" not in log
    return load


def told(victim: Victim, load: Load, began: float) -> str:
    starts = sorted(victim.starts)
    return (
        f"{len(starts) - 1} ends in {time.monotonic() - began:.0f} s,"
        f" {sum(client.acknowledged for client in load.clients):,} steps acknowledged,"
        f" {sum(client.retried for client in load.clients):,} sent again;"
        f" ready after {1e3 * statistics.median(starts):.0f} ms (median), {1e3 * starts[-1]:.0f} at most"
    )


def test_a_few_kills(path: Path, model: fastgru.Model, tmp_path: Path) -> None:
    victim, began = Victim(path, tmp_path / "states"), time.monotonic()
    load = run(victim, model, 6)
    print(told(victim, load, began))
    assert all(client.acknowledged > 6 for client in load.clients)


def test_restarts_in_order(path: Path, model: fastgru.Model, tmp_path: Path) -> None:
    """No step fails, and all have the bits of one long stream."""
    victim, began = Victim(path, tmp_path / "states", "--drain-seconds", "2"), time.monotonic()
    load = run(victim, model, 3, in_order=True)
    print(told(victim, load, began))


def test_sessions_that_are_parked_between_their_steps(path: Path, model: fastgru.Model, tmp_path: Path) -> None:
    """Taken up and parked again and again, with the bits of streams that were never interrupted."""
    victim = Victim(path, tmp_path / "states", "--idle-seconds", "0.01", "--capacity", "12")
    with victim:
        with Load(victim.port, model, 12, pause_s=0.1) as load:
            time.sleep(2)
            victim.kill()
            victim.start()
            time.sleep(1)
        assert victim.stop() == 0
    assert min(client.acknowledged for client in load.clients) > 10


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("where", ["RAM", "disk"])
def test_a_thousand_kills(path: Path, model: fastgru.Model, tmp_path: Path, where: str) -> None:
    if where == "RAM" and not RAM.is_dir():
        pytest.skip("there is no /dev/shm")
    folder = RAM / tmp_path.name if where == "RAM" else tmp_path
    folder.mkdir(exist_ok=True)
    victim, began = Victim(path, folder / "states"), time.monotonic()
    load = run(victim, model, 1_000)
    print(f"{where}: {told(victim, load, began)}")


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_twenty_restarts_in_order(path: Path, model: fastgru.Model, tmp_path: Path) -> None:
    victim, began = Victim(path, tmp_path / "states", "--drain-seconds", "2"), time.monotonic()
    load = run(victim, model, 20, in_order=True)
    print(told(victim, load, began))
