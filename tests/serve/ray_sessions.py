"""What test_across_ray.py runs in a process of its own: sequences over Ray Serve, of which a replica is killed."""

from __future__ import annotations

import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
import ray

import fastgru
from bench.serve.across_ray import deployed, step
from bench.serve.models import save_gru
from bench.serve.process import free_port

SESSIONS, STEPS = range(1, 25), 8


def ask(port: int, session: int, number: int, frame: bytes) -> tuple[int, bytes]:
    """Until Ray has seen that the replica is gone: meanwhile it answers with an error of its own."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        client = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            status, body = step(client, session, number, frame)
            if status in (200, 400):
                return status, body
        except (OSError, HTTPException):
            pass
        finally:
            client.close()
        time.sleep(0.1)
    raise SystemExit(f"no answer to step {number} of {session}")


def main() -> None:
    path = save_gru(Path(sys.argv[1]) / "model.safetensors", 64)
    model, port = fastgru.load(path), free_port()
    frames = np.random.default_rng(0).standard_normal((STEPS + 1, 1, 1, 64), dtype=np.float32)
    streams = {session: model.stream() for session in SESSIONS}
    with deployed(path, port):
        client = HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(STEPS):
            for session, stream in streams.items():
                status, body = step(client, session, number, frames[number].tobytes())
                assert status == 200, (session, number, body)
                assert body.endswith(stream.push(frames[number]).tobytes()), (session, number)
        names = [each for each in ray.util.list_named_actors(all_namespaces=True) if "#Sequences#" in each["name"]]
        assert len(names) == 2, names
        ray.kill(ray.get_actor(**names[0]))
        lost = 0
        for session, stream in streams.items():
            status, body = ask(port, session, STEPS, frames[STEPS].tobytes())
            if status == 200:  # of the replica that lives, and no other beginning
                assert body.endswith(stream.push(frames[STEPS]).tobytes()), session
            else:
                assert b'"unknown_sequence"' in body, (session, body)
                lost += 1
        assert 0 < lost < len(streams), lost
    print(f"{len(streams)} sequences, {lost} were told that theirs is gone")


if __name__ == "__main__":
    main()
