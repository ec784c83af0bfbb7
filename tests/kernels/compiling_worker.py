"""Compiles three kernels into an empty cache in the circumstances that its argument names; what each process did."""

import json
import os
import subprocess
import sys
import time

from fastgru.kernels import compiling, table
from fastgru.kernels.run import plain_mode

BESIDE = sys.argv[1] == "beside"
here = []
true_compiled = table.compiled


def compiled(native: table.Native) -> object:
    here.append(native.name)
    ends = time.monotonic() + 60
    while BESIDE and not compiling._beside._done and time.monotonic() < ends:
        time.sleep(0.01)  # a machine may be too busy for two, and this process would do all of it
    return true_compiled(native)


def refuse(*_: object, **__: object) -> None:
    raise BlockingIOError("no more processes")


def main(circumstance: str) -> None:
    compiling.compiled = compiled
    if circumstance == "no process":
        subprocess.Popen = refuse
    elif circumstance == "one core":
        os.sched_getaffinity = lambda _: {0}
    elif circumstance == "another program":
        sys.executable = "/usr/sbin/uwsgi"
    elif circumstance == "it dies":
        sys.executable = sys.argv[2]
    names = ["look", "put", "take"]
    compiling.ensure([table.native(name) for name in names])
    forked = 0
    if circumstance == "a fork":
        forked = os.fork()
        compiling.ensure([table.native("work"), table.native("change_mode")])
    with plain_mode():
        pass
    if circumstance == "a fork" and forked == 0:
        os._exit(0)
    if forked:
        assert os.waitpid(forked, 0)[1] == 0
    assert all(table.native(name).address for name in names)
    print(json.dumps({"here": here, "compiled": table.compiled_by_this_process()}))


main(sys.argv[1])
