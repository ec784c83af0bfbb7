"""The peers: servers that answer steps of the same GRU, with a state for every session, each in its own process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.serve.process import Process, fastgru_server, floor, free_port
from bench.serving.triton import gru_config, triton_server, write_models

__all__ = ["HIDDEN", "Peer", "mlserver", "ours", "triton", "uvicorn"]

HIDDEN = 64
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A server. start: makes its process. protocols: the ones to measure; gRPC uses grpc_port."""

    name: str
    start: Callable[[], Process]
    protocols: tuple[str, ...]
    grpc_port: int = 0


def ours(model: Path, core: int, folder: Path) -> Peer:
    port, grpc_port = free_port(), free_port()
    words, log = ("--grpc-port", str(grpc_port)), folder / "fastgru.log"
    protocols = ("binary", "json", "websocket", "unary", "stream")
    return Peer("fastgru", lambda: fastgru_server(model, port, *words, core=core, log=log), protocols, grpc_port)


def triton(python: Path, core: int, folder: Path) -> list[Peer]:
    """Return Triton with its best settings here: steps of up to 64 sequences in one execution, no control tensors.

    Streams have a server of their own with one step per execution, because several steps from streams crash the Python
    backend of Triton 2.51 with a memory fault within seconds.
    """
    return [
        _triton(python, core, folder / "batches", 64, ("binary", "json", "unary")),
        _triton(python, core, folder / "streams", 1, ("stream",)),
    ]


def _triton(python: Path, core: int, folder: Path, batch: int, protocols: tuple[str, ...]) -> Peer:
    models = write_models(folder / "models", {"gru": gru_config(HIDDEN, batch=batch, sequences=4096)})
    port = free_port()
    start = lambda: triton_server(python, folder, models, core=core, grpc_port=port)  # noqa: E731
    return Peer("Triton", start, protocols, port)


def mlserver(python: Path, core: int, folder: Path) -> Peer:
    """Return MLServer as one process, because workers would have states of their own."""
    folder.mkdir(exist_ok=True)
    for name in ("mlserver_model.py", "gru.py"):
        shutil.copy(_HERE / name, folder)
    port = free_port()
    settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps({**settings, "host": "127.0.0.1", "debug": False}))
    described = {"name": "gru", "implementation": "mlserver_model.Step"}
    (folder / "model-settings.json").write_text(json.dumps(described))
    words = [str(python), "-c", "from mlserver.cli import main; main()", "start", str(folder)]
    return Peer("MLServer", lambda: Process(words, port, core=core, log=folder / "log"), ("json",))


def uvicorn(core: int) -> Peer:
    """Return a server without a protocol, checks or names: the bytes of a frame, and a state for each connection."""
    return Peer("uvicorn, NumPy", lambda: floor("numpy", free_port(), core=core), ("raw",))
