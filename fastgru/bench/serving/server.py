"""Reads what a server reports: its models, its counts, and the CPU time of its process."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from fastgru.bench.serving.inputs import Input, inputs_of
from fastgru.bench.serving.link import kind_of
from fastgru.bench.serving.target import Target
from fastgru.errors import FastGRUError
from fastgru.records import dataclass

__all__ = ["Counts", "Server", "find_server"]

_METRIC: Final = re.compile(rb"^(process_cpu_seconds_total|process_resident_memory_bytes) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Counts:
    """The server's counts for a model so far; None for those that it does not report.

    success, failure: requests. inferences: their rows. executions: runs of one inference or more. queue_ns, compute_ns:
    sums over all requests. cpu_s, memory: those of its process.
    """

    success: int | None = None
    failure: int | None = None
    inferences: int | None = None
    executions: int | None = None
    queue_ns: int | None = None
    compute_ns: int | None = None
    cpu_s: float | None = None
    memory: int | None = None

    def since(self, before: Counts) -> dict[str, float | None]:
        """Return the growth of each count."""
        names = Counts.__dataclass_fields__
        pairs = {name: (getattr(before, name), getattr(self, name)) for name in names}
        return {name: None if None in pair else pair[1] - pair[0] for name, pair in pairs.items()}


@dataclass(frozen=True)
class Server:
    """A model on a server. name, version, extensions: as the server reports them."""

    target: Target
    model: str
    inputs: tuple[Input, ...]
    name: str = ""
    version: str = ""
    extensions: tuple[str, ...] = ()

    def counts(self) -> Counts:
        """Return the counts now; all are None if the server does not answer."""
        found: dict[str, Any] = {}
        try:
            stats = self.target.json(f"/v2/models/{self.model}/stats")
            status, text = self.target.ask("/metrics")
        except OSError:
            return Counts()
        try:
            (model,) = stats["model_stats"]
            counted = model["inference_stats"]
            found = {
                "success": int(counted["success"]["count"]), "failure": int(counted["fail"]["count"]),
                "inferences": int(model["inference_count"]), "executions": int(model["execution_count"]),
                "queue_ns": int(counted["queue"]["ns"]), "compute_ns": int(counted["compute_infer"]["ns"]),
            }  # fmt: skip
        except (TypeError, KeyError, ValueError):
            pass  # the server lacks the extension
        metrics = dict(_METRIC.findall(text)) if status == 200 else {}
        if (cpu := metrics.get(b"process_cpu_seconds_total")) is not None:
            found["cpu_s"] = float(cpu)
        if (memory := metrics.get(b"process_resident_memory_bytes")) is not None:
            found["memory"] = int(float(memory))
        return Counts(**found)


def find_server(target: Target, url: str, model: str | None = None) -> Server:
    """Return the server at `target`, with the model of that name or its only one.

    Raises `FastGRUError` if it cannot be reached, has no such model, or requires a key.
    """
    try:
        about = _told(target, "/v2") or {}
        if model is None:
            listed = _told(target, "/v2/repository/index", b"{}")
            names = sorted({each["name"] for each in listed or () if each.get("state", "READY") == "READY"})
            if len(names) != 1:
                raise FastGRUError(f"{url} serves {', '.join(names) or 'no model that it lists'}: name one by --model")
            (model,) = names
        metadata = _told(target, f"/v2/models/{model}", needed=True)
    except OSError as error:
        raise FastGRUError(f"{url} cannot be reached: {kind_of(error)}") from error
    name, version = str(about.get("name", "")), str(about.get("version", ""))
    return Server(target, model, inputs_of(metadata), name, version, tuple(about.get("extensions", ())))


def _told(target: Target, path: str, body: bytes | None = None, *, needed: bool = False) -> Any:
    status, text = target.ask(path, body)
    if status in (401, 403):
        raise FastGRUError(
            f"{path}: the server answers {status}, because it expects another key than the one in --api-key-file"
        )
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if needed and (status != 200 or not isinstance(told, Mapping)):
        raise FastGRUError(f"{path}: the server answers {status} {text[:200].decode(errors='replace')}")
    return told if status == 200 else None
