"""Computes what many streams need from measurements on one machine. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

__all__ = ["HEADERS", "SEGMENT", "Fleet", "Found", "on_the_wire", "tables"]

SEGMENT = 1_448  # bytes of a message in one TCP packet, with an MTU of 1,500 and timestamps
HEADERS = 66  # bytes of Ethernet, IPv4 and TCP headers in a packet


@dataclass(frozen=True)
class Fleet:
    """streams: their number, each with `rate` frames per second. share: of a core, link or memory that may be in use.

    cores, gbit, gib: those of one machine. machines: those of one rack.
    """

    streams: int = 1_000_000
    rate: float = 50.0
    share: float = 0.6
    cores: int = 32
    gbit: float = 25.0
    gib: float = 128.0
    machines: int = 10


@dataclass(frozen=True)
class Found:
    """The measurements of a model with `hidden` units.

    alone_us, batch_us: of a step in process, for one session alone and for each of many. cpu_us: of the server for a
    frame, by protocol. steps: in each frame of "chunks". messages: bytes of a frame and of its answer. session_bytes:
    of memory, with its connection. record_bytes: of a session in a folder of states. start_s, kept_s: time until a
    server is ready, without sessions and with `kept` sessions in its folder. move_us: of a state by GET and PUT, one
    after the other.
    """

    hidden: int
    alone_us: float
    batch_us: float
    cpu_us: Mapping[str, float]
    steps: int
    messages: Mapping[str, tuple[int, int]]
    session_bytes: float
    record_bytes: float
    start_s: float
    kept_s: float
    kept: int
    move_us: float


def on_the_wire(size: int) -> int:
    """Return the bytes of a message with the headers of its packets; packets of acknowledgements are not counted."""
    return size + HEADERS * ceil(size / SEGMENT)


def cores_for(fleet: Fleet, cpu_us: float, steps: int = 1) -> float:
    """Return the cores in use for `share` of the time, if a frame of `steps` steps takes `cpu_us`."""
    return fleet.streams * fleet.rate / steps * cpu_us / 1e6 / fleet.share


def gbit_for(fleet: Fleet, size: int, steps: int = 1) -> float:
    """Return Gbit/s of all streams in one direction, if a frame of `steps` steps is a message of `size` bytes."""
    return fleet.streams * fleet.rate / steps * on_the_wire(size) * 8 / 1e9


def streams_of(fleet: Fleet, found: Found, protocol: str, steps: int = 1) -> dict[str, int]:
    """Return how many streams each part of one machine allows."""
    most = max(map(on_the_wire, found.messages[protocol]))
    return {
        "cores": floor(fleet.cores * fleet.share * 1e6 * steps / (fleet.rate * found.cpu_us[protocol])),
        "network": floor(fleet.gbit * 1e9 * fleet.share * steps / (fleet.rate * most * 8)),
        "memory": floor(fleet.gib * 2**30 * fleet.share / found.session_bytes),
    }


def tables(fleet: Fleet, found: Found) -> list[str]:
    """Return the tables of the page, in Markdown."""
    return [_needs(fleet, found), _machine(fleet, found), _failure(fleet, found)]


def _needs(fleet: Fleet, found: Found) -> str:
    rows = [
        ("in process, one session a call", f"{found.alone_us:.2f} µs", cores_for(fleet, found.alone_us), None),
        ("in process, many sessions a call", f"{found.batch_us:.2f} µs", cores_for(fleet, found.batch_us), None),
    ] + [
        (_name(protocol, found), f"{cpu:.1f} µs", cores_for(fleet, cpu, _steps(protocol, found)), protocol)
        for protocol, cpu in found.cpu_us.items()
    ]
    lines = []
    for name, cpu, cores, protocol in rows:
        wire = ["", "", ""]
        if protocol is not None:
            up, down = found.messages[protocol]
            wire = [f"{up:,}", f"{down:,}", f"{gbit_for(fleet, max(up, down), _steps(protocol, found)):.0f}"]
        lines.append([name, cpu, f"{cores:,.0f}", *wire])
    heads = ("transport", "CPU time", "cores", "bytes of a frame", "bytes of an answer", "Gbit/s, the larger direction")
    return table(heads, lines)


def _machine(fleet: Fleet, found: Found) -> str:
    lines = []
    for protocol in found.cpu_us:
        each = streams_of(fleet, found, protocol, _steps(protocol, found))
        first = min(each, key=lambda part: each[part])
        needed = ceil(fleet.streams / each[first])
        lines.append([_name(protocol, found), *(f"{n:,}" for n in each.values()), first, f"{needed:,}"])
    heads = ("transport", "streams by cores", "streams by network", "streams by memory", "first limit", "machines")
    return f"{table(heads, lines)}\n\n{_verdict(fleet, found)}"


def _verdict(fleet: Fleet, found: Found) -> str:
    """Return a sentence about the first bottleneck."""
    each, cpu = streams_of(fleet, found, "websocket"), found.cpu_us["websocket"]
    first = min(each, key=lambda part: each[part])
    more = 100 * (found.cpu_us["chunks"] / found.steps / cpu - 1)
    return (
        f"Over WebSocket, the first limit of a machine is its {first}. A step in a batch is"
        f" {100 * found.batch_us / cpu:.0f} % of the CPU time of a frame; the rest is spent on receiving the frame,"
        " finding its session and answering."
        f" A step that comes with {found.steps - 1} others in a frame takes {abs(more):.0f} %"
        f" {'less' if more < 0 else 'more'} CPU time than one that comes alone."
    )


def _failure(fleet: Fleet, found: Found) -> str:
    machine = streams_of(fleet, found, "websocket")
    lost = min(fleet.streams, fleet.machines * min(machine.values()))
    process = max(1, min(machine.values()) // fleet.cores)
    kept_us = max(0.0, (found.kept_s - found.start_s) / found.kept * 1e6)
    took, moved = found.start_s + process * kept_us / 1e6, process * found.move_us / 1e6
    rest = fleet.streams - lost
    alone = "no machine is left"
    if rest:
        busy = 100 * fleet.share * fleet.streams / rest
        alone = f"the cores of the other machines are busy {busy:.0f} % of the time"
    spare = f"{fleet.machines:,}; without them, {alone}"
    started = f"{took:.2f} s: a start of {found.start_s:.2f} s, {kept_us:.1f} µs a session"
    each = f"{moved:.2f} s: {found.move_us:.0f} µs a state"
    return table(("if one rack fails", ""), [
        ["streams of the rack", f"{lost:,}, on {fleet.machines:,} machines"],
        ["spare machines for these streams", spare],
        ["streams of one process (one core)", f"{process:,}"],
        ["time until a new process has their states from `--state-dir`", started],
        ["frames due for each stream in that time", f"{took * fleet.rate:,.0f}"],
        ["time to move their states by GET and PUT, before a planned end", each],
        ["records on disk of the streams of all racks", f"{fleet.streams * found.record_bytes / 2**30:.1f} GiB"],
    ])  # fmt: skip


def _steps(protocol: str, found: Found) -> int:
    return found.steps if protocol == "chunks" else 1


def _name(protocol: str, found: Found) -> str:
    return {
        "websocket": "WebSocket", "binary": "HTTP, tensors as bytes", "json": "HTTP, JSON",
        "chunks": f"WebSocket, {found.steps} steps a frame",
    }[protocol]  # fmt: skip


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
