"""Makes all calls of the differential to the real Triton, and writes its answers to a file.

It runs in an environment of its own, from the folder of a clone, on any x86 machine with Linux, without a GPU:

    python3 -m venv triton && triton/bin/pip install nvidia-pytriton 'tritonclient[all]'
    triton/bin/python -m bench.serving.differential.record
"""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from bench.serve.process import free_port
from bench.serving.differential.asking import Asker
from bench.serving.differential.grpc_calls import run as run_grpc
from bench.serving.differential.http_calls import OF_MODELS, run
from bench.serving.triton import gru_config, triton_server, write_models

__all__ = ["GOLDEN", "configs", "record", "triton_messages"]

GOLDEN = Path(__file__).with_name("triton.json")


def configs() -> dict[str, str]:
    """Return the models by name. The Python backend takes no text as CORRID, so requests tell such sequences."""

    def kind(name: str) -> str:
        return f'parameters {{ key: "kind" value {{ string_value: "{name}" }} }}'

    def listed(*names: str, of: str, size: int) -> str:
        return ", ".join([f'{{ name: "{name}" data_type: TYPE_{of} dims: [-1, {size}] }}' for name in names])

    def identity(of: str) -> str:
        return f"input [{listed('x', of=of, size=3)}] output [{listed('y', of=of, size=3)}] {kind('identity')}"

    inputs, outputs = listed("a", "b", of="FP32", size=2), listed("total", "ratio", of="FP32", size=2)
    return {
        "gru": gru_config(8, controls="TYPE_UINT64"),
        "gru_text": gru_config(8),
        "pair": f"input [{inputs}] output [{outputs}] {kind('pair')}",
        "counted": identity("FP32"),
        **{f"of_{name}": identity(name) for name in OF_MODELS},
    }


def triton_messages(name: str) -> Any:
    """Return the class of a message, from Triton's client."""
    from tritonclient.grpc import service_pb2

    found: Any = service_pb2
    for part in name.split("."):
        found = getattr(found, part)
    return found


def record() -> dict[str, Any]:
    """Return the answers of Triton in the environment of this process."""
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(Path(folder, "models"), configs())
        port = free_port()
        with triton_server(sys.executable, Path(folder), models, grpc_port=port) as server:
            ask = Asker(server.port)
            run(ask)
            run_grpc(ask, port, triton_messages)
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v2") as answer:
                version = json.load(answer)["version"]
    return {"triton": version, "calls": ask.seen}


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    path.write_text(json.dumps(record(), indent=1, ensure_ascii=False) + "\n")
    print(path)
