"""Check spoiled files of the package's own form in a process of its own; what became of them, as JSON on its output.

    python tests/fuzz/native_worker.py FIRST COUNT FOLDER

File n is the same every time. Any exception but an error of the tree is a failure, and so are bytes written where
they do not belong, numbers that are not the definition's, and more than SECONDS of processor time: the file is left in
FOLDER as n.safetensors. The one on which the process died is last.safetensors, its number in last.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType

from native_check import check_native
from native_files import draw_graph
from native_spoil import spoiled_bytes
from peak import peak_bytes

SECONDS = 10
MEMORY = 12 << 30  # of addresses


class TooLongError(BaseException):
    """Not an `Exception`, so that no handler on the way swallows it."""


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise TooLongError


def main(first: str, count: str, folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _too_long)
    outcomes: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    failures = []
    last = Path(folder) / "last.safetensors"
    for number in range(int(first), int(first) + int(count)):
        rng = random.Random(f"native {number}")
        graph, feeds = draw_graph(rng)
        content = spoiled_bytes(graph, rng)
        last.write_bytes(content)
        (Path(folder) / "last").write_text(str(number))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            outcome = check_native(content, feeds, rng)
        except (Exception, TooLongError) as error:
            outcome = "failure"
            failures.append((number, "".join(traceback.format_exception(error)[-6:])))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        outcomes[outcome] += 1
        if outcome == "checked":
            operators.update(node.op for node in graph.nodes)
        if outcome == "failure":
            last.rename(Path(folder) / f"{number}.safetensors")
    peak = peak_bytes() // 1024
    print(json.dumps({"outcomes": outcomes, "operators": operators, "failures": failures, "peak_kib": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
