"""`fastgru warmup`: compiles and caches kernels now, so that the first use of a model does not have to."""

import time
from pathlib import Path
from typing import Any

import click

import fastgru
from fastgru.cli.building import build_for, print_built, targets_option
from fastgru.cli.nearby import ModelPath
from fastgru.cli.options import flags, json_option, load_options, precision_option, show
from fastgru.simd.target import Target
from fastgru.terminal import bytes_of, counted, progress, say

__all__ = ["command"]


@click.command("warmup")
@click.argument("files", nargs=-1, type=ModelPath(), metavar="[FILE]...")
@targets_option(required=False)
@json_option
@load_options
@precision_option
def command(
    files: tuple[Path, ...],
    targets: tuple[Target, ...],
    as_json: bool,
    options: dict[str, Any],
    precision: str | None,
) -> None:
    """Compile the kernels that the models in FILEs need, or all kernels, into the cache, for this CPU or for --target.

    Processes that use this cache then compile nothing. `fastgru doctor` shows its folder.
    """
    from fastgru.kernels.table import compiled_by_this_process
    from fastgru.simd import cache

    if options and not files:
        raise click.UsageError(f"{flags(options)}: only for reading a FILE, and no FILE is given")
    if targets:
        built = build_for(targets, files, precision, options, None)
        show({"targets": built}, lambda: print_built(built), as_json=as_json)
        return
    found = cache.describe()
    if found["problem"] and not found["writable"]:
        raise click.ClickException(f"{found['problem']}; FASTGRU_CACHE_DIR names another folder")
    started = time.perf_counter()
    _warm_entries()
    if files:
        _warm_files(files, precision, options, as_json=as_json)
    else:
        _warm_all()
    found = cache.describe()
    if compiled_by_this_process() and not found["writable"]:
        raise click.ClickException(f"{found['directory']} cannot be written; FASTGRU_CACHE_DIR names another folder")
    taken = time.perf_counter() - started
    warmed = {name: found[name] for name in ("directory", "entries", "bytes")}
    told = f"{found['directory']}: {counted(found['entries'], 'kernel')}, {bytes_of(found['bytes'])}, in {taken:.1f} s"
    show({"files": [*map(str, files)], **warmed, "seconds": taken}, lambda: say(told), as_json=as_json)


def _warm_entries() -> None:
    """Build the entries through which Python runs a program: alone, in a team, as a stream."""
    from fastgru.kernels import run

    for name in run.__all__:
        entry = getattr(run, name)
        if hasattr(entry, "cache_info"):
            entry()


def _warm_files(files: tuple[Path, ...], precision: str | None, options: dict[str, Any], *, as_json: bool) -> None:
    from fastgru.cli.runnables import runnables
    from fastgru.verify.cases import draw_cases

    for file in files:
        with progress(f"Compiling the kernels that {file} needs", compiles=True):
            model = fastgru.load(file, precision=precision, **options)
            for runnable in runnables(model):
                for case in draw_cases(runnable.graph):
                    runnable.run(case.calls[0])
        if not as_json:
            say(f"{file}: ready")


def _warm_all() -> None:
    from fastgru.kernels.table import entries

    handlers = list(entries())
    with progress(compiles=True) as tell:
        for number, handler in enumerate(handlers, 1):
            tell(f"Compiling kernel {number} of {len(handlers)}: {handler.name}")
            assert handler.address
