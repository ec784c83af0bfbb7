"""Builds kernels for other targets, with one process for each: shared by `fastgru build` and `fastgru warmup --target`.

    python -m fastgru.cli.building REQUEST

runs such a process. `FASTGRU_TARGET` names its target, and the process runs none of the code that it builds. It prints
a line for each kernel, and at the end one about the contents of its folder.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import click

from fastgru.errors import FastGRUError
from fastgru.simd.target import TARGETS, Target, parse
from fastgru.terminal import bytes_of, counted, progress, say

__all__ = ["build_for", "print_built", "targets_option"]

F = TypeVar("F", bound=Callable[..., Any])


def _parsed(context: click.Context, option: click.Parameter, given: str | None) -> tuple[Target, ...]:
    names = given.split(",") if given is not None else ()
    return tuple(sorted({parse(name, "--target") for name in names}, key=TARGETS.index))


def targets_option(*, required: bool) -> Callable[[F], F]:
    """Return the option `--target T[,T...]`, parsed into targets."""
    return click.option(
        "--target",
        "targets",
        metavar="T[,T...]",
        callback=_parsed,
        required=required,
        help="The targets to build for, such as linux-x86-64-v3, linux-aarch64+dotprod or macos-aarch64. Any machine"
        " can build for all of them.",
    )


def build_for(
    targets: Sequence[Target],
    files: Sequence[Path],
    precision: str | None,
    options: dict[str, Any],
    folder: Path | None,
) -> list[dict[str, Any]]:
    """Build the kernels of the models, or all kernels if no file is given, and return what each target has.

    folder: that of the cache, None for the one of this user. Targets that share kernels are built one after the other,
    the lowest first; others at the same time, as many as there are cores. Raises `FastGRUError` if one fails.
    """
    request = {
        "files": [str(file.absolute()) for file in files],
        "precision": precision,
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
    }
    environment = dict(os.environ) if folder is None else {**os.environ, "FASTGRU_CACHE_DIR": str(folder.absolute())}
    environment["FASTGRU_QUIET"] = "1"
    alike = [list(each) for _, each in groupby(targets, key=lambda target: (*target[:2], target.base))]
    with progress("Building kernels") as tell:
        counts = dict.fromkeys(targets, "starting")

        def build(group: Sequence[Target]) -> list[dict[str, Any]]:
            return [_build(target, request, environment, advance(target)) for target in group]

        def advance(target: Target) -> Callable[[int, int], None]:
            def advanced(done: int, total: int) -> None:
                counts[target] = f"{done} of {total}"
                tell("Building kernels: " + ", ".join(f"{each.name} {count}" for each, count in counts.items()))

            return advanced

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [found for group in pool.map(build, alike) for found in group]


def print_built(built: Sequence[dict[str, Any]]) -> None:
    """Print a line for each target of `build_for`."""
    for each in built:
        size = bytes_of(each["bytes"])
        say(f"{each['target']}: {counted(each['kernels'], 'kernel')}, {size} in {each['directory']}")


def _build(
    target: Target, request: dict[str, Any], environment: dict[str, str], tell: Callable[[int, int], None]
) -> dict[str, Any]:
    command = [sys.executable, "-m", "fastgru.cli.building", json.dumps(request)]
    environment = {**environment, "FASTGRU_TARGET": target.name}
    found: dict[str, Any] = {}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8"
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                found = json.loads(line)
                if "done" in found:
                    tell(found["done"], found["total"])
        if child.returncode or "kernels" not in found:
            errors.seek(0)
            said = errors.read().strip().splitlines() or [f"exit status {child.returncode}"]
            raise FastGRUError(f"{target.name}: {said[-1]}")
    return {"target": target.name, **found}


def _wanted(request: dict[str, Any]) -> Iterator[Any]:
    """Return the native functions of a request: those that Python calls, and those in programs of the models."""
    import fastgru
    from fastgru.cli.runnables import runnables
    from fastgru.kernels import table
    from fastgru.verify.cases import draw_cases

    whole = not request["files"]
    for file in request["files"]:
        model = fastgru.load(file, precision=request["precision"], **request["options"])
        for runnable in runnables(model):
            for case in draw_cases(runnable.graph):
                shapes = {name: array.shape for name, array in runnable.bind(case.calls[0]).items()}
                if runnable.route(shapes) is None:  # several programs, one of which reads what another has computed
                    runnable.plan(case.calls[0])
    return (native for native in table.entries() if whole or not native.dtype or native.asked_for)


def main() -> None:
    """Run the process of one target."""
    from fastgru.cli.group import one_line
    from fastgru.errors import FastGRUError
    from fastgru.kernels import table
    from fastgru.simd import cache

    table.build_only()
    try:
        found = cache.describe()
        if found["problem"] or not found["writable"]:
            raise FastGRUError(found["problem"] or f"{found['directory']} cannot be written")
        wanted = list(_wanted(json.loads(sys.argv[1])))
        for i, native in enumerate(wanted, 1):
            native.build()
            print(json.dumps({"done": i, "total": len(wanted)}), flush=True)
        missing = [native.name for native in wanted if cache.read_kept(native.name) is None]
        if missing:
            raise FastGRUError(f"{cache.describe()['directory']} does not accept {', '.join(missing)}")
    except (FastGRUError, OSError) as error:
        sys.exit(one_line(error))
    nbytes = sum(len(entry.code) for native in wanted if (entry := cache.read_kept(native.name)) is not None)
    print(json.dumps({"kernels": len(wanted), "bytes": nbytes, "directory": cache.describe()["directory"]}))


if __name__ == "__main__":
    main()
