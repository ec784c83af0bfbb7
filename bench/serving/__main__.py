"""Servers side by side: python -m bench.serving [--triton PYTHON] [--mlserver PYTHON], from the folder of the clone.

Every server answers steps of the same GRU (H = 64, float32, a state for each session) on one core, with the client on
another. Servers and protocols take turns, in rounds. The outputs of each are compared with those of NumPy before
anything is timed. Over gRPC, Triton's own client is used for every server.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.serve.models import save_gru
from bench.serving.peers import HIDDEN, Peer, mlserver, ours, triton, uvicorn
from bench.serving.table import NAMES, GrpcClient, GrpcRow, HttpRow, Row, grpc_client

__all__ = ["main"]

GRPC = ("unary", "stream")


def rows_of(peers: list[Peer], stack: ExitStack, client: GrpcClient | None, core: int, wanted: str) -> list[Row]:
    """Start all servers, and return the rows of the protocols that are wanted."""
    rows: list[Row] = []
    for peer in peers:
        wants = ("", "grpc"), ("", "http")
        protocols = [p for p in peer.protocols if wanted == p or wanted in wants[p not in GRPC]]
        protocols = [p for p in protocols if client is not None or p not in GRPC]
        if not protocols:
            continue
        process = stack.enter_context(peer.start())
        for protocol in protocols:
            if protocol in GRPC:
                assert client is not None
                rows.append(GrpcRow(peer.name, protocol, process, peer.grpc_port, client))
            else:
                rows.append(HttpRow(peer.name, protocol, process, core))
    return rows


def measure(rows: list[Row], rounds: int, seconds: float) -> None:
    """Measure in rounds, each with a turn for every row."""
    for _ in range(rounds):
        for row in rows:
            row.one(seconds)
        for row in rows:
            row.many(seconds)
    for row in rows:
        row.close()


def show(found: list[dict[str, Any]]) -> None:
    print(
        "| server | protocol | latency, µs | steps a second | CPU time of a step, µs | memory, MB |\n"
        "|---|---|---:|---:|---:|---:|"
    )
    for row in found:
        numbers = f"{row['p50_us']:.0f} | {row['steps']:,.0f} | {row['cpu_us']:.0f} | {row['rss'] / 1e6:.0f}"
        print(f"| {row['server']} | {row['protocol']} | {numbers} |")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--triton", type=Path, metavar="PYTHON", help="of an environment with nvidia-pytriton and tritonclient[all]"
    )
    parser.add_argument("--mlserver", type=Path, metavar="PYTHON", help="of an environment with mlserver")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn; each row has two in a round")
    parser.add_argument("--only", default="", metavar="WHAT", help=f"http, grpc, or one of {', '.join(NAMES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--cores", default="0,1", metavar="CLIENT,SERVER", help="which cores; 0,1 by default")
    options = parser.parse_args(words)
    core, server_core = (int(core) for core in options.cores.split(","))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, client = Path(name), None
        model = save_gru(folder / "gru.safetensors", HIDDEN)
        peers = [ours(model, server_core, folder)]
        if options.triton is not None:
            peers += triton(options.triton, server_core, folder / "triton")
            client = stack.enter_context(grpc_client(options.triton, core))
        if options.mlserver is not None:
            peers.append(mlserver(options.mlserver, server_core, folder / "mlserver"))
        rows = rows_of([*peers, uvicorn(server_core)], stack, client, core, options.only)
        measure(rows, options.rounds, options.seconds)
    found = [row.figures() for row in rows]
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
