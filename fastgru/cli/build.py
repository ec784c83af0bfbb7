"""`fastgru build`: kernels for any target, made on any machine, into a folder that is a cache there."""

from pathlib import Path
from typing import Any

import click

from fastgru.cli.building import build_for, print_built, targets_option
from fastgru.cli.nearby import ModelPath
from fastgru.cli.options import flags, json_option, load_options, precision_option, show
from fastgru.simd.target import Target

__all__ = ["command"]


@click.command("build")
@click.argument("files", nargs=-1, type=ModelPath(), metavar="[MODEL]...")
@targets_option(required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder, to be named by FASTGRU_CACHE_DIR where it is used; it gets one folder a target.",
)
@json_option
@load_options
@precision_option
def command(
    files: tuple[Path, ...],
    targets: tuple[Target, ...],
    output: Path,
    as_json: bool,
    options: dict[str, Any],
    precision: str | None,
) -> None:
    """Build the kernels that MODELs need, or every kernel, for other CPUs and systems.

    A process that finds DIR by FASTGRU_CACHE_DIR, runs one of the targets and has this version of fastgru compiles
    nothing. Code of a level that is the same for a lower one lies in the folder of that one.
    """
    if options and not files:
        raise click.UsageError(f"{flags(options)}: how to read a MODEL, and none is given")
    built = build_for(targets, files, precision, options, output)
    show({"targets": built}, lambda: print_built(built), as_json=as_json)
