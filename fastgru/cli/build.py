"""`fastgru build`: builds kernels for any target, on any machine, into a folder that serves as a cache."""

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
    help="The folder for the kernels, which gets one folder for each target. Set FASTGRU_CACHE_DIR to it where the"
    " kernels are used.",
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
    """Build the kernels that the MODELs need, or all kernels, for other CPUs and systems.

    A process that runs on one of the targets, with this version of fastgru and with FASTGRU_CACHE_DIR set to DIR,
    compiles nothing. If a kernel has the same code for two levels of an architecture, such as v3 and v4, only the
    folder of the lower level holds it.
    """
    if options and not files:
        raise click.UsageError(f"{flags(options)}: only for reading a MODEL, and no MODEL is given")
    built = build_for(targets, files, precision, options, output)
    show({"targets": built}, lambda: print_built(built), as_json=as_json)
