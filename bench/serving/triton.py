"""Runs the real Triton without a container: the server in the wheel of nvidia-pytriton, with its Python backend.

It needs only `pip install nvidia-pytriton` in an environment of its own, and no GPU.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.serve.process import Process, free_port

__all__ = ["find_triton", "gru_config", "triton_server", "write_models"]

_FIND = """
import importlib.util, json, sys, sysconfig
found = importlib.util.find_spec("pytriton")
print(json.dumps({
    "server": found and found.submodule_search_locations[0] + "/tritonserver",
    "python": sysconfig.get_config_var("LIBDIR"), "version": "%d.%d" % sys.version_info[:2],
    "prefix": sys.prefix, "packages": sysconfig.get_path("purelib"),
}))
"""
_HERE = Path(__file__).parent


def find_triton(python: Path | str) -> dict[str, Any] | None:
    """Return where the server and its libraries are in the environment of this Python; None if it is not installed."""
    found = json.loads(subprocess.run([str(python), "-c", _FIND], capture_output=True, text=True, check=True).stdout)
    return found if found["server"] else None


def gru_config(hidden: int, *, batch: int = 0, sequences: int = 64, controls: str = "", strategy: str = "") -> str:
    """Return the configuration of a GRU with a state for each sequence.

    batch: 0 for frames (T, 1, H); otherwise the number of single steps in one execution. controls: the type of CORRID,
    "" for no control tensors. strategy: of the sequence batcher, `oldest` by default.
    """
    dims = f"1, {hidden}" if batch else f"-1, -1, {hidden}"
    made = [
        f'control_input [{{ name: "{name}" control [{{ kind: CONTROL_SEQUENCE_{name} {more} }}] }}]'
        for name, more in (
            ("START", "int32_false_true: [0, 1]"),
            ("END", "int32_false_true: [0, 1]"),
            ("CORRID", f"data_type: {controls}"),
        )
    ]
    strategy = strategy or f"oldest {{ max_candidate_sequences: {sequences} }}"
    return f"""
max_batch_size: {batch}
input [{{ name: "x" data_type: TYPE_FP32 dims: [{dims}] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [{dims}] }}]
sequence_batching {{
  {strategy}
  max_sequence_idle_microseconds: 300000000
  {chr(10).join(made) if controls else ""}
}}
parameters {{ key: "kind" value {{ string_value: "gru" }} }}
"""


def write_models(folder: Path, configs: Mapping[str, str]) -> Path:
    """Write a model repository in which every model is `triton_model.py`."""
    for name, config in configs.items():
        version = folder / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        shutil.copy(_HERE / "triton_model.py", version / "model.py")
        shutil.copy(_HERE / "gru.py", version)
        more = 'backend: "python"\ninstance_group [{ kind: KIND_CPU count: 1 }]\n'
        (folder / name / "config.pbtxt").write_text(more + config)
    return folder


def triton_server(
    python: Path | str, folder: Path, models: Path, *options: str, core: int | None = None, grpc_port: int = 0
) -> Process:
    """Return the server of a model repository. folder: for its backend and its log.

    Raises `FileNotFoundError` if this Python has no nvidia-pytriton.
    """
    found = find_triton(python)
    if found is None:
        raise FileNotFoundError(f"{python}: nvidia-pytriton is not installed in its environment")
    server, port = Path(found["server"]), free_port()
    backend = folder / "backends" / "python"
    shutil.copytree(server / "backends" / "python", backend, dirs_exist_ok=True)
    shutil.copy(server / "python_backend_stubs" / found["version"] / "triton_python_backend_stub", backend)
    libraries = f"{server.parents[1] / 'nvidia_pytriton.libs'}:{found['python']}"
    given = {
        "http-address": "127.0.0.1", "http-port": port, "grpc-address": "127.0.0.1",
        "grpc-port": grpc_port or free_port(), "allow-metrics": "false", "model-control-mode": "explicit",
        "load-model": "*", "exit-timeout-secs": 1, "model-store": models, "backend-directory": backend.parent,
        "cache-directory": server / "caches",
    }  # fmt: skip
    words: Sequence[str] = [
        "env", f"LD_LIBRARY_PATH={libraries}", f"PYTHONPATH={found['packages']}",
        f"PATH={found['prefix']}/bin:/usr/bin",
        str(server / "bin" / "tritonserver"), *[f"--{name}={value}" for name, value in given.items()],
        *options,
    ]  # fmt: skip
    return Process(words, port, core=core, log=folder / "triton.log", ready="/v2/health/ready")
