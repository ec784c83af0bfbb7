"""Read mutated files of one format in a process of its own, and say what became of them as JSON on standard output.

    python tests/fuzz/fuzz_worker.py FORMAT COUNT SEED FOLDER

Each is read as bytes and as a file, which are two ways through the readers and have to end alike. Any exception but a
`FastGRUError`, or more than SECONDS of processor time for one file, is a failure: the file is left in FOLDER. So is the
file on which the process died, as `last`.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType

from peak import peak_bytes
from seed_files import FORMATS

from fastgru.errors import FastGRUError

SECONDS = 5


class TooLongError(BaseException):
    """Not an `Exception`, so that no handler on the way swallows it."""


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise TooLongError


def main(name: str, count: str, seed: str, folder: str) -> None:
    form = FORMATS[name]
    seeds = form.seeds()
    for content in seeds:
        form.read(content)
    signal.signal(signal.SIGVTALRM, _too_long)
    outcomes: Counter[str] = Counter()
    failures = []
    for number in range(int(count)):
        rng = random.Random(f"{name} {seed} {number}")
        content = form.mutate(rng.choice(seeds), rng)
        last = Path(folder) / "last"
        last.write_bytes(content)
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        ends = []
        try:
            for source in (content, last):
                try:
                    form.read(source)
                    ends.append("read")
                except FastGRUError as error:
                    ends.append(type(error).__name__)
                    if len(str(error)) > 20_000:
                        failures.append([number, f"a message of {len(str(error))} characters"])
            if ends[0] != ends[1]:
                failures.append([number, f"as bytes {ends[0]}, as a file {ends[1]}"])
        except (Exception, TooLongError) as error:
            ends = ["failure"]
            failures.append([number, "".join(traceback.format_exception(error)[-6:])])
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        outcomes[ends[0]] += 1
        if failures and failures[-1][0] == number:
            last.rename(Path(folder) / f"{name}-{seed}-{number}")
    peak = peak_bytes() // 1024
    print(json.dumps({"outcomes": outcomes, "failures": failures, "peak_kib": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
