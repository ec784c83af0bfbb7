"""The metadata, configuration and statistics of the server and its models."""

from typing import Any, Final

from fastgru.graph import TensorSpec
from fastgru.serve.fields import Field, field_of
from fastgru.serve.models import Served

__all__ = ["model_config", "model_metadata", "model_statistics", "server_metadata"]

_EXTENSIONS: Final = [
    "binary_tensor_data", "model_configuration", "model_repository", "schedule_policy", "sequence",
    "sequence(string_id)", "sequence(state)", "statistics",
]  # fmt: skip


def server_metadata(version: str) -> dict[str, Any]:
    """Return the name and version of the server, and the extensions of the protocol that it implements."""
    return {"name": "fastgru", "version": version, "extensions": _EXTENSIONS}


def model_metadata(served: Served) -> dict[str, Any]:
    """Return the metadata of a model. States are not among the inputs and outputs, because the server keeps them."""

    def shown(fields: tuple[Field, ...]) -> list[dict[str, Any]]:
        return [{"name": f.name, "datatype": f.datatype, "shape": _dims(f)} for f in fields]

    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "fastgru",
        "inputs": shown(served.inputs),
        "outputs": shown(served.outputs),
    }


def model_config(served: Served, idle_seconds: float) -> dict[str, Any]:
    """Return the members of Triton's ModelConfig that apply here. They follow from the model; none can be set."""

    def shown(fields: tuple[Field, ...]) -> list[dict[str, Any]]:
        return [{"name": f.name, "data_type": _type(f), "dims": _dims(f)} for f in fields]

    model = served.model
    config: dict[str, Any] = {
        "name": served.name,
        "platform": "fastgru",
        "backend": "fastgru",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": 0,
        "input": shown(served.inputs),
        "output": shown(served.outputs),
        "parameters": {
            "precision": {"string_value": model.precision},
            "threads": {"string_value": str(model.threads)},
            "fingerprint": {"string_value": model.fingerprint},
        },
    }
    if served.is_stateful:
        specs: dict[str, TensorSpec] = {spec.name: spec for spec in model.inputs}
        states = [(name, output, field_of(specs[name])) for name, output in model.graph.states.items()]
        config["sequence_batching"] = {
            "max_sequence_idle_microseconds": int(idle_seconds * 1e6),
            "state": [
                {"input_name": name, "output_name": output, "data_type": _type(field), "dims": _dims(field)}
                for name, output, field in states
            ],
        }
    return config


def model_statistics(served: Served) -> dict[str, Any]:
    """Return the counts of a model, in the form of Triton's ModelStatistics.

    The times of inputs and outputs are part of `compute_infer`, and there is no cache.
    """
    counts = served.counts
    return {
        "name": served.name,
        "version": served.version,
        "last_inference": counts.last_ms,
        "inference_count": counts.inferences,
        "execution_count": counts.executions,
        "inference_stats": {
            "success": _duration(counts.requests, counts.request_ns),
            "fail": _duration(sum(counts.failed.values()), counts.failed_ns),
            "queue": _duration(counts.requests, counts.queue_ns),
            "compute_input": _duration(counts.executions),
            "compute_infer": _duration(counts.executions, counts.compute_ns),
            "compute_output": _duration(counts.executions),
            "cache_hit": _duration(),
            "cache_miss": _duration(),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(count),
                "compute_infer": _duration(count, took_ns),
                "compute_output": _duration(count),
            }
            for rows, (count, took_ns) in sorted(counts.batches.items())
        ],
        "memory_usage": [],
    }


def _duration(count: int = 0, took_ns: int = 0) -> dict[str, int]:
    return {"count": count, "ns": took_ns}


def _dims(field: Field) -> list[int]:
    """Return the shape for clients. The protocol cannot express a free rank, which becomes one free size."""
    return [-1] if field.shape is None else list(field.shape)


def _type(field: Field) -> str:
    return f"TYPE_{field.datatype}"
