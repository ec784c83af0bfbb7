"""The models of the differential in a server of this package: run as a program, it prints its addresses."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from protocol_models import of_dtype, stateless
from users import child

import fastgru.serve
from bench.serve.models import save_gru
from bench.serve.process import free_port
from bench.serving.differential.asking import DTYPES
from bench.serving.differential.http_calls import OF_MODELS

__all__ = ["serving"]


@contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """A process with the server, and its ports of HTTP and gRPC."""
    path = os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parents[1])])
    command, environment = [sys.executable, __file__], {**os.environ, "PYTHONPATH": path}
    with child(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            http, grpc = process.stdout.readline().split()
            yield int(http.rpartition(":")[2]), int(grpc.rpartition(":")[2])
        finally:
            process.terminate()
            assert process.wait(60) == 0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        gru = save_gru(Path(folder, "gru.safetensors"), 8)
        models = {f"of_{name}": of_dtype(np.dtype(DTYPES[name]).name) for name in OF_MODELS}
        models |= {"gru": gru, "gru_text": gru, "pair": stateless(), "counted": of_dtype("float32")}
        fastgru.serve.run(models, port=0, grpc_port=free_port(), started=lambda server: print(*server.urls, flush=True))


if __name__ == "__main__":
    main()
