"""The cost of a step through Ray Serve, next to `fastgru serve` alone: `python -m bench.serve.across_ray`.

It deploys the file of the page "Beyond one server". One client with one sequence and one connection sends its steps one
after the other, in turns to both.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from bench.serve.models import save_gru
from bench.serve.process import fastgru_server, free_port

__all__ = ["deployed", "step"]

PAGE = Path(__file__).parents[2] / "docs" / "pages" / "scaling.md"
ROUNDS, STEPS, H = 5, 400, 64


@contextmanager
def deployed(model: Path, port: int) -> Iterator[None]:
    """Deploy the file of the page on a Ray of this machine, which ends with the block."""
    import ray
    from ray import serve

    (code,) = re.findall(
        r"^<!-- server: ray_app.py -->\n\n?```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S
    )
    # Ray pickles names of a main program by value, which is needed because the replicas have no such file.
    names = {"__name__": "__main__"}
    exec(code.replace("/srv/models/model.onnx", str(model)), names)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(names["app"], name="model", route_prefix="/")
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def step(client: HTTPConnection, session: int, number: int, frame: bytes) -> tuple[int, bytes]:
    """Send a numbered step of a sequence, and return the status and the received bytes."""
    start = "true" if number == 0 else "false"
    url = f"/v2/models/model/infer?sequence_id={session}&sequence_step={number}&sequence_start={start}"
    headers = {"Inference-Header-Content-Length": "0", "X-Session-Id": str(session)}
    client.request("POST", url, frame, headers)
    answer = client.getresponse()
    return answer.status, answer.read()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        model = save_gru(Path(folder) / "model.safetensors", H)
        ports = {"fastgru serve": free_port(), "Ray Serve": free_port()}
        took: dict[str, list[float]] = {name: [] for name in ports}
        frame = np.random.default_rng(0).standard_normal((1, 1, H), dtype=np.float32).tobytes()
        with fastgru_server(model, ports["fastgru serve"]), deployed(model, ports["Ray Serve"]):
            clients = {name: HTTPConnection("127.0.0.1", port, timeout=60) for name, port in ports.items()}
            for at in range(ROUNDS + 1):
                for name, client in clients.items():
                    for number in range(at * STEPS, (at + 1) * STEPS):
                        began = time.perf_counter()
                        status, body = step(client, 1, number, frame)
                        if status != 200:
                            raise SystemExit(f"{name}: {status} {body.decode(errors='replace')}")
                        if at:  # the first round warms up
                            took[name].append(time.perf_counter() - began)
        print(f"a step of H = {H}, one client, {ROUNDS * STEPS} steps each, ms")
        for name, times in took.items():
            print(f"{name:<14} p50 {1e3 * np.percentile(times, 50):7.3f}  p99 {1e3 * np.percentile(times, 99):7.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
