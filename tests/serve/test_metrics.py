"""`/metrics`: Triton's names and ours, in a format that Prometheus reads."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("orjson", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from prometheus_client.parser import text_string_to_metric_families

from fastgru.serve.gate import Gate
from fastgru.serve.metrics import Metrics
from fastgru.serve.settings import Settings
from fastgru.serve.statistics import Statistics


class Sessions:
    capacity, evicted = 5, 2

    def __len__(self) -> int:
        return 3


class Model:
    version = "1"

    def __init__(self, name: str, sessions: Sessions | None) -> None:
        self.name, self.sessions, self.statistics = name, sessions, Statistics()
        self.counts, self.formers, self.parked = self.statistics, [], 2


class Scheduler:
    jobs = 4


def read(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """name of the sample -> {the values of its labels but version, in their order: the value}."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = tuple(value for name, value in sample.labels.items() if name != "version")
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    for name in [name for name in found if name.startswith("nv_")]:  # which the parser calls as OpenMetrics would
        found[name.removesuffix("_total")] = found[name]
    return found


@pytest.fixture
def models() -> list[Model]:
    return [Model("gru", Sessions()), Model("free", None)]


@pytest.fixture
def metrics(models: list[Model]) -> Metrics:
    gate = Gate(Settings())
    gate.refuse("host")
    gate.refuse("host")
    assert gate.enters("127.0.0.1")
    parts: Any = models, Scheduler()
    return Metrics(*parts, gate)


def test_counts_have_the_names_of_triton(metrics: Metrics, models: list[Model]) -> None:
    counts = models[0].statistics
    counts.pushed(1, 1000, 3_000, 500)
    counts.pushed(4, 9000, 10_000, 2_500)
    counts.pending = 7
    for reason in ("overload", "overload", "cancelled", "internal", "shape", "evicted"):
        counts.fail(reason)
    found = read(metrics)
    for name, value in {
        "request_success": 5,
        "count": 5,
        "exec_count": 2,
        "queue_duration_us": 3,
        "compute_infer_duration_us": 13,
        "request_duration_us": 3 + 3 + 40,
        "pending_request_count": 7,
    }.items():
        assert found[f"nv_inference_{name}"] == {("gru",): value, ("free",): 0}, name
    failures = found["nv_inference_request_failure"]
    assert {key[1]: value for key, value in failures.items() if key[0] == "gru"} == {
        "REJECTED": 2, "CANCELED": 1, "BACKEND": 1, "OTHER": 2,
    }  # fmt: skip
    assert found["fastgru_failed_total"][("gru", "overload")] == 2


def test_types_are_told(metrics: Metrics) -> None:
    text = metrics.text().decode()
    assert '\nnv_inference_request_success{model="gru",version="1"} 0\n' in text
    assert "# TYPE nv_inference_request_success counter\n" in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text
    assert "# TYPE fastgru_step_seconds histogram\n" in text
    assert text.endswith("\n")


def test_times_and_rows_are_histograms(metrics: Metrics, models: list[Model]) -> None:
    counts = models[0].statistics
    for rows, took in ((1, 900), (1, 1023), (2, 1024), (3, 5_000_000), (100_000, 60 * 10**9)):
        counts.pushed(rows, 0, took, 0)
    found = read(metrics)
    times = {float(key[1]): value for key, value in found["fastgru_step_seconds_bucket"].items() if key[0] == "gru"}
    assert times[1.024e-6] == 2
    assert times[2.048e-6] == 3
    assert times[0.008388608] == 4
    assert times[math.inf] == found["fastgru_step_seconds_count"]["gru",] == 5
    assert found["fastgru_step_seconds_sum"]["gru",] == pytest.approx(60.005002947)
    rows = {float(key[1]): value for key, value in found["fastgru_tick_rows_bucket"].items() if key[0] == "gru"}
    assert (rows[1], rows[2], rows[4], rows[8192], rows[math.inf]) == (2, 3, 4, 4, 5)
    assert found["fastgru_tick_rows_sum"]["gru",] == 100_007
    assert list(rows.values()) == sorted(rows.values())


def test_sessions_are_those_of_models_with_states(metrics: Metrics) -> None:
    found = read(metrics)
    assert found["fastgru_sessions"] == {("gru",): 3}
    assert found["fastgru_parked_sessions"] == {("gru",): 2}
    assert found["fastgru_session_capacity"] == {("gru",): 5}
    assert found["fastgru_evicted_total"] == {("gru",): 2}


def test_the_server_itself_is_there(metrics: Metrics) -> None:
    found = read(metrics)
    assert found["fastgru_refused_total"] == {("host",): 2}
    assert found["fastgru_connections"] == {(): 1}
    assert found["fastgru_connections_total"] == {(): 1}
    assert found["fastgru_in_flight_bytes"] == {(): 0}
    assert found["fastgru_pending_jobs"] == {(): 4}
    assert len(found["fastgru_info"]) == 1


def test_names_are_escaped(models: list[Model], metrics: Metrics) -> None:
    models[0].statistics.fail('a "quoted"\\ word\n')
    assert ("gru", 'a "quoted"\\ word\n') in read(metrics)["fastgru_failed_total"]
