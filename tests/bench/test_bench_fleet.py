"""The arithmetic of many streams, by hand; nothing is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fleet.__main__ import placed
from bench.fleet.plan import Fleet, Found, cores_for, gbit_for, on_the_wire, streams_of, tables

ROOT = Path(__file__).parents[2]
FLEET = Fleet(streams=1_000_000, rate=50, share=0.5, cores=32, gbit=25, gib=128, machines=10)
FOUND = Found(
    hidden=128, alone_us=4, batch_us=2, cpu_us={"websocket": 20, "chunks": 60}, steps=5,
    messages={"websocket": (520, 516), "chunks": (2_568, 2_564)}, session_bytes=32_768, record_bytes=8_192,
    start_s=0.5, kept_s=0.9, kept=10_000, move_us=1_000,
)  # fmt: skip


def test_a_message_has_headers_in_each_of_its_packets() -> None:
    assert [on_the_wire(size) for size in (1, 1_448, 1_449, 2_896)] == [67, 1_514, 1_581, 3_028]


def test_cores_and_network() -> None:
    assert cores_for(FLEET, 20) == pytest.approx(
        2_000
    )  # 50 million frames of 20 us are 1,000 s, and half of each is in use
    assert cores_for(FLEET, 60, 5) == pytest.approx(1_200)
    assert gbit_for(FLEET, 520) == pytest.approx(50e6 * 586 * 8 / 1e9)
    assert gbit_for(FLEET, 2_568, 5) == pytest.approx(10e6 * (2_568 + 132) * 8 / 1e9)


def test_what_one_machine_takes() -> None:
    each = streams_of(FLEET, FOUND, "websocket")
    assert each == {"cores": 16_000, "network": 53_327, "memory": 2_097_152}
    assert streams_of(FLEET, FOUND, "chunks", 5)["cores"] == 26_666


def test_the_tables() -> None:
    needs, machine, failure = tables(FLEET, FOUND)
    assert "| WebSocket | 20.0 µs | 2,000 | 520 | 516 | 234 |" in needs
    assert "| WebSocket, 5 steps a frame | 60.0 µs | 1,200 | 2,568 | 2,564 | 216 |" in needs
    assert "| WebSocket | 16,000 | 53,327 | 2,097,152 | cores | 63 |" in machine
    assert "the first limit of a machine is its cores. A step in a batch is 10 % of" in machine
    assert "with 4 others in a frame takes 40 % less CPU time" in machine
    assert "160,000, on 10 machines" in failure
    assert "of the other machines are busy 60 % of the time" in failure  # 0.5 / 0.84
    assert "| streams of one process (one core) | 500 |" in failure
    assert "| 0.52 s: a start of 0.50 s, 40.0 µs a session |" in failure  # and 500 sessions in 20 ms
    assert "| 0.50 s: 1000 µs a state |" in failure
    assert "| 7.6 GiB |" in failure


def test_a_rack_that_has_all_streams_leaves_no_others() -> None:
    failure = tables(replace(FLEET, machines=1_000), FOUND)[2]
    assert "without them, no machine is left |" in failure


@given(st.integers(1, 10**8), st.floats(1, 1000), st.floats(0.1, 1), st.floats(0.1, 1e4))
def test_machines_have_the_cores_that_are_needed(streams: int, rate: float, share: float, cpu_us: float) -> None:
    """The two ways to count agree: cores for all streams, and streams for the cores of a machine."""
    fleet, found = replace(FLEET, streams=streams, rate=rate, share=share), replace(FOUND, cpu_us={"websocket": cpu_us})
    each = streams_of(fleet, found, "websocket")["cores"]
    assert each * cores_for(fleet, cpu_us) <= streams * fleet.cores * (1 + 1e-9)
    assert (each + 1) * cores_for(fleet, cpu_us) >= streams * fleet.cores * (1 - 1e-9)


def test_the_page_has_a_place_for_each_table() -> None:
    text = (ROOT / "docs" / "pages" / "million-streams.md").read_text(encoding="utf-8")
    for name in ("needs", "machine", "states", "failure"):
        assert f"\nnew {name}\n\n<!-- fleet: end of {name} -->" in placed(text, name, f"new {name}")
    with pytest.raises(ValueError, match="0 places for 'other'"):
        placed(text, "other", "")
