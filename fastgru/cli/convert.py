"""`fastgru convert`: converts any format into one .safetensors or .onnx file."""

from pathlib import Path
from typing import Any

import click

from fastgru.cli.options import file_argument, json_option, load_options, show
from fastgru.cli.outputs import check_output
from fastgru.load import load_graph
from fastgru.precisions import LOWP
from fastgru.reference.python import refuse_file
from fastgru.terminal import bytes_of, counted, say

__all__ = ["command"]


@click.command("convert")
@file_argument
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite OUTPUT if it exists.")
@click.option(
    "--precision",
    type=click.Choice(("float32", *LOWP)),
    help="The precision of the weights in a .safetensors file. Layers that have no kernels for it stay as they are."
    "  [default: that of FILE]",
)
@json_option
@load_options
def command(
    file: Path, output: Path, force: bool, precision: str | None, as_json: bool, options: dict[str, Any]
) -> None:
    """Save the model in FILE as OUTPUT: one .safetensors file that any CPU can load, or an .onnx file.

    --precision rounds the weights without measuring the error. `fastgru quantize` measures it.
    """
    from fastgru.exporters import to_onnx
    from fastgru.graphfile import read_graph, write_graph

    check_output(output, (".safetensors", ".onnx"), overwrite=force)
    suffix = output.suffix.lower()
    if suffix == ".onnx" and precision in LOWP:
        raise click.UsageError(f"--precision {precision}: an .onnx file holds floats; name a .safetensors file")
    graph = load_graph(file, **options)
    refuse_file(graph)
    if precision is not None:
        from fastgru.model import Model

        graph = Model(graph, precision=precision).to_graph()
    if suffix == ".onnx":
        wide = any(spec.dtype == "float64" for spec in (*graph.inputs, *graph.outputs))
        to_onnx(graph, output, precision="float64" if wide else "float32")
        load_graph(output)
    else:
        write_graph(graph, output)
        read_graph(output)
    nodes, parameters, nbytes = len(graph.nodes), graph.num_parameters, output.stat().st_size
    found = {"output": str(output), "nodes": nodes, "parameters": parameters, "bytes": nbytes}
    told = f"{output}: {counted(nodes, 'node')}, {counted(parameters, 'parameter')}, {bytes_of(nbytes)}"
    show(found, lambda: say(told), as_json=as_json)
