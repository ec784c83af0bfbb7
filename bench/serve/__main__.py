"""The figures of `fastgru serve`: python -m bench.serve [WHAT]... [--full] [--json FILE], from the folder of the clone.

The server runs on one core and the client on another; floors and rivals are measured in the same run. A figure with a
bound says whether it holds, and the exit status is 1 if one is missed. Without --full, each run takes a tenth of the
time, but at least two seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.serve.durable import durable
from bench.serve.inprocess import pool
from bench.serve.overload import overload
from bench.serve.realtime import realtime, tail
from bench.serve.rpc import rpc
from bench.serve.setting import Setting
from bench.serve.soak import soak
from bench.serve.steady import added, cpu

MEASUREMENTS: dict[str, Callable[[Setting], None]] = {
    "pool": pool,
    "added": added,
    "cpu": cpu,
    "grpc": rpc,
    "realtime": realtime,
    "tail": tail,
    "overload": overload,
    "durable": durable,
    "soak": soak,
}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "what",
        nargs="*",
        metavar="WHAT",
        help=f"{', '.join(MEASUREMENTS)}; all by default. WHAT/PART for one part: realtime/gtcrn, tail/binary...",
    )
    parser.add_argument("--full", action="store_true", help="the durations of the promise: minutes each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--cores", default="0,1", metavar="CLIENT,SERVER", help="which cores; 0,1 by default")
    parser.add_argument("--triton", type=Path, metavar="PYTHON", help="of an environment with nvidia-pytriton")
    parser.add_argument("--gtcrn", type=Path, metavar="FOLDER", help="gtcrn_simple.onnx and golden.npz")
    parser.add_argument("--sessions", type=int, metavar="N", help="of realtime, in the place of those of the promise")
    parser.add_argument("--verbose", action="store_true", help="the whole outcome of each run")
    options = parser.parse_args(words)
    if unknown := {word.partition("/")[0] for word in options.what} - set(MEASUREMENTS):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(MEASUREMENTS)}")
    client, server = (int(core) for core in options.cores.split(","))
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), options.full, client, server, options.gtcrn, options.verbose)
        setting.sessions, setting.triton = options.sessions, options.triton
        for name in options.what or MEASUREMENTS:
            print("\n" + name)
            name, _, setting.part = name.partition("/")
            MEASUREMENTS[name](setting)
        if options.json:
            setting.write(options.json)
    missed = [figure for figure in setting.figures if figure.holds is False]
    print(f"\n{len(setting.figures)} figures, {len(missed)} missed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
