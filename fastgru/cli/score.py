"""`fastgru score`: runs a model over every sequence of a data set."""

from pathlib import Path
from typing import Any

import click

import fastgru
from fastgru.cli.options import file_argument, json_option, load_options, precision_option, show
from fastgru.cli.outputs import check_output
from fastgru.terminal import counted, say

__all__ = ["command"]


@click.command("score")
@file_argument
@click.option(
    "--input",
    "source",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="The data: a .parquet, .csv, .jsonl, .npz or .npy file, or a folder of such files.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file for the results: .parquet, .jsonl or .npz.",
)
@click.option(
    "--columns",
    multiple=True,
    metavar="[NAME=]A,B,...",
    help="The columns that hold the values, in the order of the model's features. With NAME=, the columns of one input."
    " Repeatable.  [default: all but those of --id]",
)
@click.option(
    "--id",
    "ids",
    metavar="A,B,...",
    help="The columns that identify a sequence: rows with the same values in them form one sequence.",
)
@click.option(
    "--rows",
    type=click.Choice(["steps", "sequences"]),
    help="What a row holds: one step, or a whole sequence as lists of steps.  [default: one step with --id, and a whole"
    " sequence if the columns hold lists of steps]",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "null"]),
    default="stop",
    show_default=True,
    help="What to do about a faulty row: end the run, or make the outputs of its sequence null and add a line to"
    " OUTPUT.errors.jsonl.",
)
@click.option(
    "--restart",
    is_flag=True,
    help="Start again: delete the parts of an earlier run, and overwrite OUTPUT if it exists.",
)
@click.option(
    "--budget",
    "mebibytes",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="MIB",
    help="The memory for sequences and results, besides the weights. If one sequence needs more, the run stops.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="The number of cores to use.")
@click.option(
    "--ray",
    "address",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Run on Ray Data: on the cluster at ADDRESS, or on this machine without an ADDRESS.",
)
@click.option(
    "--ray-actors",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="The number of Ray actors. Each of them has a copy of the model.",
)
@click.option(
    "--ray-cpus",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="The number of CPUs for each actor.",
)
@json_option
@load_options
@precision_option
def command(
    file: Path,
    source: Path,
    output: Path,
    threads: int,
    precision: str | None,
    options: dict[str, Any],
    as_json: bool,
    **choices: Any,
) -> None:
    """Run the model in FILE over every sequence of a data set.

    The results have the order of the data. Finished parts are kept in OUTPUT.parts until the last one is done. If the
    command is interrupted, run it again: it continues after the finished parts.
    """
    from fastgru.scoring import score

    check_output(output)
    names = options.pop("outputs", None)
    model = fastgru.load(file, precision=precision, threads=threads, **options)
    # Names of inner tensors: load a part of the model.
    if names and not set(names) <= {spec.name for spec in model.outputs}:
        model = fastgru.load(file, precision=precision, threads=threads, outputs=names, **options)
    columns, ids = _columns(choices.pop("columns")), choices.pop("ids")
    choices["budget"] = choices.pop("mebibytes") << 20
    choices |= {"columns": columns, "ids": ids.split(",") if ids else (), "outputs": names}
    choices["cluster"] = _cluster(choices)
    done = score(model, source, output, progress=not as_json, **choices)
    found = {**done._asdict(), "faults": [fault._asdict() for fault in done.faults], "output": str(output)}

    def print_it() -> None:
        if done.resumed:
            say(f"continued after {counted(done.resumed, 'sequence')} of an earlier run")
        say(f"{output}: {counted(done.sequences, 'sequence')}, {counted(done.rows, 'row')}, on {done.target}")
        for fault in done.faults[:5]:
            say(f"  row {fault.row}: {fault.reason}")
        if done.faults:
            say(f"{counted(len(done.faults), 'sequence')} without outputs: {output}.errors.jsonl")

    show(found, print_it, as_json=as_json)


def _cluster(choices: dict[str, Any]) -> Any:
    """Return the Ray cluster that `--ray` asks for, or None."""
    address, actors, cpus = (choices.pop(name) for name in ("address", "ray_actors", "ray_cpus"))
    if address is None:
        return None
    try:
        from fastgru.scoring.ray import Cluster
    except ImportError as error:
        raise click.UsageError(f"--ray needs the extra `ray` ({error})") from error
    return Cluster(None if address == "local" else address, actors, cpus)


def _columns(given: tuple[str, ...]) -> dict[str, list[str]] | list[str] | None:
    named = {name: names.split(",") for name, is_named, names in (text.partition("=") for text in given) if is_named}
    plain = [name for text in given if "=" not in text for name in text.split(",")]
    if named and plain:
        raise click.UsageError("--columns: give each input's columns as NAME=A,B or all columns without a name")
    return named or plain or None
