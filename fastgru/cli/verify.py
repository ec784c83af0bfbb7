"""`fastgru verify`: checks that a model returns the right numbers."""

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from fastgru.cli.arrays import fit, name_inputs
from fastgru.cli.options import file_argument, json_option, load_options, precision_option, show
from fastgru.errors import UnsupportedModelError
from fastgru.load import load_graph
from fastgru.terminal import bars, plain_table, progress, stdout
from fastgru.verify import Report, verify
from fastgru.verify.report import Check

__all__ = ["command"]


@click.command("verify")
@file_argument
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Use this array instead of random inputs. Repeatable.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of the random inputs.")
@click.option(
    "--tol",
    type=click.FloatRange(min=0, min_open=True),
    help="The difference that is allowed for outputs of magnitude up to 1; for larger outputs it is relative to them.",
)
@click.option(
    "--runtimes/--no-runtimes",
    default=True,
    help="Whether to compare with the framework that the file comes from, too, if it is installed.  [default: yes]",
)
@load_options
@precision_option
@json_option
def command(
    file: Path,
    inputs: tuple[str, ...],
    seed: int,
    tol: float | None,
    runtimes: bool,
    options: dict[str, Any],
    precision: str | None,
    as_json: bool,
) -> None:
    """Compare the outputs of the model in FILE with those of NumPy in float64, and of the framework that it comes from.

    Give arrays with --input as for `fastgru run`.

    The exit status is 0 if every output is within its tolerance, and 1 if one is not.
    """
    arrays = None
    try:
        graph = load_graph(file, **options)
    except UnsupportedModelError:
        if inputs:
            raise
        graph = None  # perhaps a state dict; `verify` finds out
    if graph is not None and inputs:
        named = name_inputs("--input", inputs, graph.inputs, graph.states)
        arrays = {spec.name: fit(named[spec.name], spec, graph) for spec in graph.inputs if spec.name in named}
    with progress(f"Comparing the outputs of {file}"):
        report = verify(file, inputs=arrays, seed=seed, tol=tol, precision=precision, runtimes=runtimes, **options)
    show(report.to_dict(), lambda: _print(report), as_json=as_json)
    if not report.holds:
        raise click.exceptions.Exit(1)


def _verdict(check: Check) -> str:
    return "FAILS" if check.is_compared else "not finite"


def _print(report: Report) -> None:
    console = stdout()
    console.print(Text(report.source, style="bold"), Text(f"in {report.precision}; inputs: {'; '.join(report.cases)}"))
    rows = [
        (
            Text(check.output),
            check.against,
            f"{check.max_abs:.2e}",
            f"{check.allowed:.2e}",
            "-" if check.step is None else str(check.step),
            bars(check.by_step, check.max_abs),
            Text("holds", style="green") if check.holds else Text(_verdict(check), style="bold red"),
        )
        for check in report.checks
    ]
    columns = ("output", "against", "largest error", "allowed", "worst step", "by step", "")
    console.print(
        plain_table(*columns, rows=rows, right=columns[2:5], names=("output",), spare=("by step", "worst step"))
    )
    for name, reason in report.skipped:
        console.print(Text(f"{name} not compared: {reason}", style="dim"))
    for node in report.reference_nodes:
        console.print(Text(f"Carried out by onnx's reference implementation, slowly: {node}", style="bold yellow"))
    for name in dict.fromkeys(check.output for check in report.checks if not check.is_compared):
        console.print(
            Text(f"{name}: no number is finite, so nothing was compared; give the model real data with --input.")
        )
    holds, fails = Text("Every output holds.", style="green"), Text("The outputs do not hold.", style="bold red")
    console.print(holds if report.holds else fails)
