"""`fastgru inspect`: shows what a file contains."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from fastgru.cli.findings import examine, profile
from fastgru.cli.options import file_argument, json_option, load_options, precision_option, show
from fastgru.graph import shape_text
from fastgru.terminal import bytes_of, counted, plain_table, print_facts, shorten, stdout, time_of

__all__ = ["command"]


@click.command("inspect")
@file_argument
@click.option("--nodes", "with_nodes", is_flag=True, help="List every node or tensor, not only the GRUs.")
@click.option("--profile", "with_times", is_flag=True, help="Time every instruction of a run.")
@precision_option
@click.option(
    "--draft",
    "as_draft",
    is_flag=True,
    help="For weights alone: print the draft of a description of the network, in YAML.",
)
@load_options
@json_option
def command(
    file: Path,
    with_nodes: bool,
    with_times: bool,
    precision: str | None,
    as_draft: bool,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Show what FILE contains: layers, shapes, GRU conventions, parameters, states, and what is not supported.

    For a file of weights alone, the command shows the GRUs that it finds, and how to load them. The exit status is 1 if
    the model is valid but something in it is not supported.

    With --precision bfloat16, int8, auto or auto-int8, it also shows which precision the weights of each node would
    get, and why.

    With --profile, it also shows the instructions of a run in the precision of --precision, and how long each takes on
    one thread. The inputs are random, and their free dimensions are 1.

    With --draft, it prints only a description of the layers to which the tensors seem to belong. Complete the
    description and give it to --architecture.
    """
    found = examine(file, precision=precision, **options)
    if as_draft:
        if found["kind"] != "weights" or as_json or with_nodes or with_times:
            raise click.UsageError("--draft is for files of weights alone, without --json, --nodes and --profile")
        from fastgru.importers.architecture import draft
        from fastgru.importers.weights import read_weights

        click.echo(draft(read_weights(file, key=options.get("key"))), nl=False)
        return
    if with_times and found["kind"] == "model" and not found["unsupported"]:
        found["profile"] = profile(file, precision=precision, **options)
    elif with_times:
        raise click.UsageError(f"--profile: {file} is not a model that runs")
    show(found, lambda: _print(found, with_nodes), as_json=as_json)
    if found["unsupported"]:
        raise click.exceptions.Exit(1)


def _print(found: dict[str, Any], with_nodes: bool) -> None:
    console = stdout()
    console.print(Text(found["file"], style="bold"), soft_wrap=True)
    facts = {"file type": found["description"], "size": bytes_of(found["bytes"]), **found["meta"]}
    print_facts(console, {name: shorten(" ".join(value.split()), 100) for name, value in facts.items()})
    if found["unsupported"] and found["kind"] == "weights":
        console.print(Text("Not supported", style="bold red"))
        console.print(Text(found["unsupported"] + "\n"), soft_wrap=True)
        console.print(Text("Its weights can be read alone:"))
    if found["kind"] == "model":
        _print_model(console, found, with_nodes)
    elif found["kind"] == "weights":
        _print_weights(console, found, with_nodes)
    elif found["kind"] == "choices":
        rows = [
            (Text(f"--key {choice['key'] or repr('')}"), str(choice["tensors"]), Text(", ".join(choice["grus"])))
            for choice in found["choices"]
        ]
        console.print(
            plain_table("dict of tensors", "tensors", "GRUs", rows=rows, right=("tensors",), sentences=("GRUs",))
        )
    if "profile" in found:
        _print_profile(console, found["profile"])
    if found["unsupported"] and found["kind"] != "weights":
        console.print(Text("Not supported", style="bold red"))
        console.print(Text(found["unsupported"]))


def _shape(spec: dict[str, Any]) -> str:
    """ "(T, N, 40)" with a "?" for a free dimension that has no name."""
    if spec["shape"] is None:
        return "any"
    return shape_text(spec["shape"], spec["dims"])


def _print_model(console: Console, found: dict[str, Any], with_nodes: bool) -> None:
    tensors = [
        (kind, Text(spec["name"]), spec["dtype"], _shape(spec), Text(spec["state"] or ""))
        for kind in ("input", "output")
        for spec in found[f"{kind}s"]
    ]
    console.print(plain_table("", "name", "dtype", "shape", "state", rows=tensors, names=("name", "state")))
    if found["grus"]:
        columns = ("GRU", "in", "hidden", "direction", "reset", "gates", "candidate", "layout", "reads", "parameters")
        rows = [
            (
                Text(gru["name"]),
                str(gru["input_size"]),
                str(gru["hidden_size"]),
                gru["direction"],
                gru["reset"] + ("" if gru["clip"] is None else f", clip {gru['clip']:g}"),
                " ".join(gru["gates"]),
                " ".join(gru["candidates"]),
                gru["layout"],
                ", ".join(gru["reads"]) or "-",
                f"{gru['parameters']:,}",
            )
            for gru in found["grus"]
        ]
        spare = ("layout", "parameters", "reads", "candidate", "gates", "direction", "reset")
        table = plain_table(
            *columns, rows=rows, right=("in", "hidden", "parameters"), names=("GRU",), sentences=("reads",), spare=spare
        )
        console.print(table)
    operators = ", ".join(
        f"{count} {op}" if len(found["nodes"]) > 1 else op for op, count in found["operators"].items()
    )
    console.print(Text(f"{counted(len(found['nodes']), 'node')}: {operators}"))
    if found["reference_nodes"]:
        console.print(
            Text(
                "Carried out by onnx's reference implementation, in Python: 10 to 100,000 times slower",
                style="bold yellow",
            )
        )
        for described in found["reference_nodes"]:
            console.print(Text(f"  {described}"))
    if found["python_layers"]:
        console.print(Text("These layers run in Python, between native parts:", style="bold yellow"))
        for described in found["python_layers"]:
            console.print(Text(f"  {described}"))
    memory = f"{found['parameters']:,} parameters: {bytes_of(4 * found['parameters'])} in float32"
    console.print(Text(f"{memory}, {bytes_of(found['constant_bytes'])} of constants in the file's own dtypes"))
    if found["weights"]:
        weights = [(kept["op"], Text(kept["node"]), kept["precision"], Text(kept["why"])) for kept in found["weights"]]
        console.print(
            plain_table("weights of", "node", "in", "because", rows=weights, names=("node",), sentences=("because",))
        )
    if with_nodes:
        nodes = [
            (
                node["op"],
                Text(node["name"]),
                Text(", ".join(name or "-" for name in node["inputs"])),
                Text(", ".join(node["outputs"])),
            )
            for node in found["nodes"]
        ]
        console.print(
            plain_table("node", "name", "reads", "gives", rows=nodes, names=("name", "gives"), sentences=("reads",))
        )


def _print_profile(console: Console, found: list[dict[str, Any]]) -> None:
    total = sum(each["seconds"] * each["times"] for each in found)
    again = any(each["times"] != 1 for each in found)
    rows = [
        (
            f"{each['seconds'] * each['times'] / total:.1%}",
            *([str(each["times"])] if again else []),
            time_of(each["seconds"]),
            each["kernel"],
            Text(each["node"]),
        )
        for each in found
    ]
    columns = ("share", *(["times"] if again else []), "time")
    console.print(Text(f"{counted(len(rows), 'instruction')}, {time_of(total)} in all, each with its data in cache"))
    console.print(plain_table(*columns, "kernel", "node", rows=rows, right=columns, names=("kernel", "node")))


def _print_weights(console: Console, found: dict[str, Any], with_nodes: bool) -> None:
    where = f", in the dict {found['key']!r}" if found["key"] else ""
    graph = "" if found["unsupported"] else ", no graph"
    console.print(Text(f"{len(found['tensors'])} tensors, {found['parameters']:,} parameters{graph}{where}"))
    for what, names in (
        ("other dicts of tensors", found["others"]),
        ("passed over, never built", found["passed_over"]),
    ):
        if names:
            console.print(Text(f"{what}: {', '.join(name or repr('') for name in names[:20])}"))
    if found["grus"]:
        columns = ("GRU", "in", "hidden", "layers", "directions", "bias")
        rows = [
            (
                Text(gru["prefix"] or "(no prefix)"),
                str(gru["input_size"]),
                str(gru["hidden_size"]),
                str(gru["num_layers"]),
                "2" if gru["bidirectional"] else "1",
                "yes" if gru["bias"] else "no",
            )
            for gru in found["grus"]
        ]
        console.print(plain_table(*columns, rows=rows, right=columns[1:5], names=("GRU",)))
    elif found["guesses"]:
        for certain, what in (
            (True, "GRUs of the file's configuration:"),
            (
                False,
                "No names of PyTorch's GRU; by their shapes these could be GRUs (a guess: shapes tell neither the order"
                " of gates nor activations, and without a bias not where the reset stands):",
            ),
        ):
            guesses = [guess for guess in found["guesses"] if guess["certain"] == certain]
            if guesses:
                console.print(Text(what))
            for guess in guesses:
                console.print(Text(f"  {guess['input_size']} -> {guess['hidden_size']}: {', '.join(guess['names'])}"))
    else:
        console.print(Text("No GRU was found, by PyTorch's names (weight_ih_l0, weight_hh_l0...) or by shapes."))
    if found["code"]:
        console.print(Text("To load these layers alone:\n" if found["unsupported"] else "To load it:\n"))
        console.print(Text(found["code"] + "\n", style="cyan"), soft_wrap=True)
    if with_nodes:
        tensors = [(Text(each["name"]), each["dtype"], str(tuple(each["shape"]))) for each in found["tensors"]]
        console.print(plain_table("tensor", "dtype", "shape", rows=tensors, names=("tensor",)))
