"""`fastgru run`: runs a model on arrays from files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import fastgru
from fastgru.cli.arrays import fit, name_inputs, write_arrays
from fastgru.cli.options import file_argument, json_option, load_options, precision_option, show
from fastgru.cli.outputs import check_output
from fastgru.graph import Graph, TensorSpec
from fastgru.terminal import is_quiet, plain_table, progress, say, stdout

__all__ = ["command"]


@click.command("run")
@file_argument
@click.option("--input", "inputs", multiple=True, metavar="[NAME=]FILE", help="A .npy, .npz or .csv file. Repeatable.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the outputs to this .npz, .npy or .csv."
)
@click.option("--only", multiple=True, metavar="NAME", help="Write or show only this output. Repeatable.")
@json_option
@load_options
@precision_option
def command(
    file: Path,
    inputs: tuple[str, ...],
    output: Path | None,
    only: tuple[str, ...],
    as_json: bool,
    options: dict[str, Any],
    precision: str | None,
) -> None:
    """Run the model in FILE on arrays.

    A .npy or .csv file without NAME= is used for the first input that has no array yet. The arrays of an .npz file are
    used for the inputs of the same names. An array that lacks only the batch axis of its input becomes a batch of one
    row: (1000, 8) becomes (1000, 1, 8) for an input (T, N, 8). A state
    that you do not give starts with the numbers in the model's file, or with zeros if this file has none. Without
    --output, the command prints a summary of every output.
    """
    if output is not None:
        check_output(output, (".npz", ".npy", ".csv"))
    with progress(f"Running {file}"):
        model = fastgru.load(file, precision=precision, **options)
        named = name_inputs("--input", inputs, model.inputs, model.graph.states)
        arrays = {spec.name: fit(named[spec.name], spec, model.graph) for spec in model.inputs if spec.name in named}
        arrays |= _start_of_states(model.graph, model.inputs, arrays)
        outputs = model.run(arrays)
    if unknown := [name for name in only if name not in outputs]:
        raise click.UsageError(f"--only {', '.join(unknown)}: there are {', '.join(outputs)}")
    chosen = {name: array for name, array in outputs.items() if not only or name in only}
    if output is not None:
        write_arrays(output, chosen)
    written = {} if output is None else {"output": str(output)}
    found = {**written, "outputs": {name: _summary(array) for name, array in chosen.items()}}

    def print_it() -> None:
        if output is None:
            _print_summary(chosen)
        else:
            say(f"{output}: " + ", ".join(f"{name} {a.shape} {a.dtype}" for name, a in chosen.items()))

    show(found, print_it, as_json=as_json)


def _start_of_states(
    graph: Graph, specs: tuple[TensorSpec, ...], given: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return the start of each state that is not given. Its free dimensions are those of the given inputs."""
    from fastgru.reference.operator import numpy_dtype

    if missing := [spec.name for spec in specs if spec.name not in given and spec.name not in graph.states]:
        raise click.UsageError(f"no array for input {', '.join(missing)}: give --input {missing[0]}=FILE")
    sizes = {
        dim: size
        for spec in specs
        if spec.name in given
        for dim, size in zip(spec.dims, given[spec.name].shape, strict=False)
        if dim is not None
    }
    starts = {}
    for spec in specs:
        if spec.name in given:
            continue
        names = (*spec.dims, *(None for _ in range(len(spec.shape or ()) - len(spec.dims))))
        shape = [sizes.get(n or "", 1) if s is None else s for n, s in zip(names, spec.shape or (), strict=True)]
        starts[spec.name] = graph.start(spec.name, shape, numpy_dtype(spec.dtype))
        what = "the numbers of the file" if spec.name in graph.starts else "zeros"
        if not is_quiet():
            say(f"state {spec.name} is not given: {what} of shape {tuple(shape)}", err=True)
    return starts


def _summary(array: NDArray[Any]) -> dict[str, Any]:
    """Return figures of an array for JSON, with None for numbers that are not finite."""
    numbers = array.astype(np.float64)
    figures = {f.__name__: float(f(numbers)) if array.size else np.nan for f in (np.min, np.mean, np.max)}
    told = {name: value if np.isfinite(value) else None for name, value in figures.items()}
    return {"shape": list(array.shape), "dtype": str(array.dtype), **told}


def _print_summary(outputs: Mapping[str, NDArray[Any]]) -> None:
    rows = []
    for name, array in outputs.items():
        numbers = array.astype(np.float64)
        figures = [f"{f(numbers):.4g}" for f in (np.min, np.mean, np.max)] if array.size else ["-"] * 3
        begins = " ".join(f"{v:.4g}" for v in numbers.ravel()[:4])
        rows.append((name, str(array.shape), str(array.dtype), *figures, begins))
    columns = ("output", "shape", "dtype", "min", "mean", "max", "begins")
    right, spare = ("min", "mean", "max"), ("begins", "mean")
    stdout().print(plain_table(*columns, rows=rows, right=right, names=("output",), sentences=("begins",), spare=spare))
