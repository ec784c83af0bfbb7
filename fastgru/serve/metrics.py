"""`/metrics`: the counts of the server as Prometheus reads them.

Metrics that Triton has keep Triton's names (nv_inference_*, microseconds), so that its dashboards work; the others are
fastgru_*. Requests only increase plain integers; the text is made from them when it is asked for.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from fastgru import __version__
from fastgru.serve.gate import Gate
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.simd.target import TARGET

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, Mapping[str, str], float]  # the suffix of the name, the labels, the value

# Triton's words for why a request failed; every other reason is OTHER.
_TRITON_REASONS: Final = {
    **dict.fromkeys(
        ("capacity", "deadline", "draining", "in_flight", "overload", "step", "too_long", "connections"), "REJECTED"
    ),
    **dict.fromkeys(("cancelled", "gone"), "CANCELED"),
    "internal": "BACKEND",
}
_FIRST_BIT, _LAST_BIT = 10, 34  # times of a step: from a microsecond to 17 seconds, doubling
_MOST_BITS: Final = 14  # numbers of requests that ran together: to 8,192, doubling


class Metrics:
    """The metrics of one server. gate: has the counts of its connections."""

    def __init__(self, repository: Repository, scheduler: Scheduler, gate: Gate) -> None:
        self._repository, self._scheduler, self._gate = repository, scheduler, gate
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def text(self) -> bytes:
        """Return all metrics in the text format 0.0.4."""
        lines: list[str] = []
        for name, kind, doc, samples in self._families():
            lines += (f"# HELP {name} {doc}", f"# TYPE {name} {kind}")
            for suffix, labels, value in samples:
                pairs = ",".join([f'{key}="{_escaped(text)}"' for key, text in labels.items()])
                lines.append(f"{name}{suffix}{{{pairs}}} {value:.17g}" if pairs else f"{name}{suffix} {value:.17g}")
        process: bytes = generate_latest(self._process)
        return "\n".join([*lines, ""]).encode() + process

    def _families(self) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
        """Yield (name, type, description, samples)."""
        for name, kind, doc, of_model in _OF_MODEL:
            yield (
                name,
                kind,
                doc,
                [
                    (suffix, {"model": served.name, "version": served.version, **labels}, value)
                    for served in self._repository
                    for suffix, labels, value in of_model(served)
                ],
            )
        gate = self._gate
        yield (
            "fastgru_refused_total",
            "counter",
            "Requests and connections that were refused, by reason.",
            [("", {"reason": reason}, count) for reason, count in sorted(gate.refused.items())],
        )
        yield "fastgru_connections", "gauge", "Connections that are open.", _one(gate.open)
        yield "fastgru_websockets", "gauge", "WebSockets that are open.", _one(gate.websockets)
        yield "fastgru_connections_total", "counter", "Connections so far.", _one(gate.accepted)
        yield "fastgru_in_flight_bytes", "gauge", "Bytes of bodies that are not answered.", _one(gate.in_flight)
        yield "fastgru_pending_jobs", "gauge", "Requests of all models on their way.", _one(self._scheduler.jobs)
        labels = {"version": __version__, "target": TARGET.short}
        yield "fastgru_info", "gauge", "The server: its version, and the CPU it computes for.", [("", labels, 1)]


def _one(value: float) -> list[Sample]:
    return [("", {}, value)]


def _failures(served: Served) -> list[Sample]:
    counts: Counter[str] = Counter()
    for reason, count in served.counts.failed.items():
        counts[_TRITON_REASONS.get(reason, "OTHER")] += count
    return [("", {"reason": reason}, counts[reason]) for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER")]


def _refused(served: Served) -> list[Sample]:
    return [("", {"reason": reason}, count) for reason, count in sorted(served.counts.failed.items())]


def _times(served: Served) -> list[Sample]:
    """Return a histogram of seconds, from counts by the bit length of nanoseconds."""
    counts = list(accumulate(served.counts.times))
    bounds = [(f"{(1 << bit) / 1e9:.9g}", counts[bit]) for bit in range(_FIRST_BIT, _LAST_BIT + 1)]
    return _histogram([*bounds, ("+Inf", counts[-1])], served.counts.compute_ns / 1e9)


def _rows(served: Served) -> list[Sample]:
    """Return a histogram of requests that ran together."""
    counts = list(accumulate(served.counts.sizes))
    bounds = [(str(1 << bit), counts[bit]) for bit in range(_MOST_BITS)]
    return _histogram([*bounds, ("+Inf", counts[-1])], served.counts.requests)


def _histogram(buckets: list[tuple[str, int]], total: float) -> list[Sample]:
    samples: list[Sample] = [("_bucket", {"le": bound}, count) for bound, count in buckets]
    return [*samples, ("_sum", {}, total), ("_count", {}, buckets[-1][1])]


def _of_sessions(name: str) -> Any:
    """Return a function that gives a number about the model's sessions, or nothing for a model without states."""

    def samples(served: Served) -> list[Sample]:
        if served.sessions is None:
            return []
        if name == "parked":
            return _one(sum([each.parked for each in (served, *served.formers)]))
        return _one(len(served.sessions) if name == "open" else getattr(served.sessions, name))

    return samples


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


# (name, type, description, function from a model to its samples)
_OF_MODEL: Final[tuple[tuple[str, str, str, Any], ...]] = (
    (
        "nv_inference_request_success",
        "counter",
        "Requests that were answered with numbers.",
        lambda served: _one(served.counts.requests),
    ),
    (
        "nv_inference_request_failure",
        "counter",
        "Requests that were answered with an error, by Triton's reasons.",
        _failures,
    ),
    (
        "nv_inference_count",
        "counter",
        "Inferences: rows of the requests that were answered with numbers.",
        lambda served: _one(served.counts.inferences),
    ),
    (
        "nv_inference_exec_count",
        "counter",
        "Executions: pushes, each of one request or more.",
        lambda served: _one(served.counts.executions),
    ),
    (
        "nv_inference_request_duration_us",
        "counter",
        "From requests to the end of their computation.",
        lambda served: _one(served.counts.request_ns / 1e3),
    ),
    (
        "nv_inference_queue_duration_us",
        "counter",
        "From requests to the begin of their computation.",
        lambda served: _one(served.counts.queue_ns / 1e3),
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Of all executions.",
        lambda served: _one(served.counts.compute_ns / 1e3),
    ),
    (
        "nv_inference_pending_request_count",
        "gauge",
        "Requests that were taken and have no answer yet.",
        lambda served: _one(served.counts.pending),
    ),
    ("fastgru_failed_total", "counter", "Requests that were answered with an error, by reason.", _refused),
    (
        "fastgru_nonfinite_outputs_total",
        "counter",
        "Answers with a NaN or an infinity.",
        lambda served: _one(served.counts.nonfinite),
    ),
    ("fastgru_step_seconds", "histogram", "Times of executions.", _times),
    ("fastgru_tick_rows", "histogram", "Requests that ran together.", _rows),
    (
        "fastgru_former_models",
        "gauge",
        "Models that were loaded anew, and that sessions go on with.",
        lambda served: _one(len(served.formers)),
    ),
    ("fastgru_sessions", "gauge", "Sessions that are open.", _of_sessions("open")),
    ("fastgru_parked_sessions", "gauge", "Sessions that are on disk, and not open.", _of_sessions("parked")),
    ("fastgru_session_capacity", "gauge", "Sessions that may be open.", _of_sessions("capacity")),
    (
        "fastgru_evicted_total",
        "counter",
        "Sessions that were ended because nobody used them.",
        _of_sessions("evicted"),
    ),
)
