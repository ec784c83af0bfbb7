"""Steps over gRPC with a client of grpcio: ours and, with `--triton`, Triton's own, in turns."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from importlib.util import find_spec

import numpy as np

from bench.serve.models import save_gru
from bench.serve.process import Process, free_port
from bench.serve.setting import Setting
from bench.serving.triton import gru_config, triton_server, write_models

__all__ = ["rpc"]


def rpc(setting: Setting) -> None:
    """Measure the median of one client's steps, as calls or in a stream, and the server's CPU time for a step."""
    if find_spec("grpc") is None:
        print("    grpcio is not installed: no client")
        return
    model, rounds, seconds = save_gru(setting.folder / "gru.safetensors"), 3, setting.seconds(10) / 3
    with ExitStack() as stack:
        ports = {"fastgru": free_port()}
        servers = {"fastgru": stack.enter_context(setting.server(model, "--grpc-port", str(ports["fastgru"])))}
        if setting.triton is not None:
            folder, ports["Triton"] = setting.folder / "triton", free_port()
            folder.mkdir(exist_ok=True)
            models = write_models(folder / "models", {"gru": gru_config(64)})
            rival = triton_server(setting.triton, folder, models, core=setting.server_core, grpc_port=ports["Triton"])
            servers["Triton"] = stack.enter_context(rival)
        for kind in ("unary", "stream"):
            if not setting.wants(kind):
                continue
            p50: dict[str, list[float]] = {name: [] for name in servers}
            took = dict.fromkeys(servers, 0.0)
            steps = dict.fromkeys(servers, 0)
            for _ in range(rounds):
                for name, server in servers.items():
                    before = server.cpu_s()
                    said = _client(setting, ports[name], kind, seconds)
                    took[name] += server.cpu_s() - before
                    steps[name] += said["steps"]
                    p50[name].append(said["p50"])
            rival_us = float(np.median(p50["Triton"])) if "Triton" in p50 else None
            for name in servers:
                bound = rival_us if name == "fastgru" else None
                setting.found(f"p50 of gRPC, {kind}, {name}", float(np.median(p50[name])), "us", bound)
                what = ", without its backend" if name == "Triton" else ""
                setting.found(f"CPU a step of gRPC, {kind}, {name}{what}", 1e6 * took[name] / steps[name], "us")


def _client(setting: Setting, port: int, kind: str, seconds: float) -> dict[str, float]:
    words = [sys.executable, "-m", "bench.serve.grpc_client", str(port), kind, str(seconds), str(next(setting.ids))]
    words = [*Process.pinned(setting.client_core), *words]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    said: dict[str, float] = json.loads(done.stdout)
    return said
