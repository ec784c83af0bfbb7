"""`fastgru demo`: lets the model that comes with the package write some text, and shows its speed."""

import time
from collections.abc import Iterable

import click
import numpy as np
from rich.color import Color
from rich.console import Console
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from fastgru.cli.charmodel import ALLOWED, DATA, CharModel, Timing
from fastgru.cli.options import json_option, show
from fastgru.terminal import bytes_of, kernels_used, stdout, time_of

__all__ = ["colour_of", "command", "legend", "typewrite"]

_SHOW_S = 6.0  # how long the text takes to appear on a terminal; the model itself needs some milliseconds
# The colours for a guess and for a certainty. Both are readable on dark and light terminals.
_UNSURE, _SURE = (214, 110, 60), (70, 140, 150)
_MARGIN = 2


@click.command("demo")
@click.option("--prompt", default="And it came to pass in those days, that ", show_default=True, help="The beginning.")
@click.option("--length", type=click.IntRange(1, 100_000), default=800, show_default=True, help="How many characters.")
@click.option(
    "--temperature",
    type=click.FloatRange(0, 5),
    default=0.6,
    show_default=True,
    help="How random the choice of each character is. 0 always takes the most likely one.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=7, show_default=True, help="The seed of the random choices."
)
@click.option("--no-pause", is_flag=True, help="Print as fast as the model writes, even on a terminal.")
@json_option
def command(prompt: str, length: int, temperature: float, seed: int, no_pause: bool, as_json: bool) -> None:
    """Load the character model that comes with the package, check its results, and let it write text.

    The exit status is 1 if its logits are not those that torch computed after the training.
    """
    console = stdout(wide=False)
    model = CharModel()
    model.encode(prompt)
    difference = model.check()
    timing = Timing()
    written = model.write(prompt, length, temperature=temperature, seed=seed, timing=timing)
    if as_json:
        holds = difference <= ALLOWED
        text = "".join(character for character, _ in written) if holds else ""
        checked = {"difference": difference if np.isfinite(difference) else None, "allowed": ALLOWED, "holds": holds}
        speed = {"step_s": _step_s(timing), "characters_per_s": _rate(timing)} if holds else {}
        show({**checked, "prompt": prompt, "text": text, **speed}, lambda: None, as_json=True)
        raise click.exceptions.Exit(0 if holds else 1)
    _print_title(console, model)
    facts = f"loaded in {time_of(model.load_s)}; its logits match torch's to within {difference:.1e}"
    if difference > ALLOWED:
        wrong = f"its logits differ from torch's by {difference:.1e}, where {ALLOWED:.1e} is allowed"
        console.print(Text(f"✗ {wrong}", style="bold red"))
        raise click.exceptions.Exit(1)
    console.print(Text("✓ ", style="green").append(facts, style="default"))
    console.print(Rule(style="dim"))

    characters = [(character, Style(bold=True)) for character in prompt]
    characters += [(character, colour_of(probability)) for character, probability in written]
    typewrite(console, characters, pause_s=0.0 if no_pause else _SHOW_S / max(length, 600))
    console.print(Rule(style="dim"))
    if console.is_terminal and console.color_system is not None:
        console.print(legend())
    _print_speed(console, model, timing)


def _print_title(console: Console, model: CharModel) -> None:
    graph = model.model.graph
    layers = [node.op for node in graph.nodes if node.op in ("embedding", "gru", "linear")]
    size = bytes_of((DATA / "demo.safetensors").stat().st_size)
    console.print(
        Text("fastgru demo  ", style="bold")
        .append(" > ".join(layers), style="not bold cyan")
        .append(f", {graph.num_parameters:,} parameters, {size}", style="not bold")
    )
    console.print(Text(f"{model.meta['text']}: {model.meta['bits_per_character']} bits a character", style="dim"))


def _step_s(timing: Timing) -> dict[str, float]:
    """Return the median and 99th percentile of the model's time for a character, in seconds."""
    median, slow = np.percentile(timing.step_ns, (50, 99)) / 1e9
    return {"median": float(median), "p99": float(slow)}


def _rate(timing: Timing) -> float:
    """Return the characters per second, including the choice of each."""
    return 1e9 * len(timing.step_ns) / timing.total_ns


def _print_speed(console: Console, model: CharModel, timing: Timing) -> None:
    median, slow = _step_s(timing).values()
    rate = _rate(timing)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row(
        "time a character",
        Text(time_of(median), style="bold green").append(
            f"  median of {len(timing.step_ns)}; {time_of(slow)} at the 99th percentile", style="not bold default"
        ),
    )
    table.add_row(
        "characters a second",
        Text(f"{rate:,.0f}", style="bold green").append("  on one core, including sampling", style="not bold default"),
    )
    table.add_row("kernels that ran", kernels_used())
    console.print(table)


def colour_of(probability: float) -> Style:
    """The style of a character to which the model gave this probability."""
    mix = [round(a + (b - a) * min(1.0, max(0.0, probability))) for a, b in zip(_UNSURE, _SURE, strict=True)]
    return Style(color=Color.from_rgb(*mix))


def legend() -> Text:
    """Return a line that shows what the colours mean."""
    bar = Text("each character in the colour of its probability: 0 ", style="dim")
    for i in range(11):
        bar.append("━", style=colour_of(i / 10))
    return bar.append(" 1", style="dim")


def typewrite(console: Console, characters: Iterable[tuple[str, Style]], *, pause_s: float = 0.0) -> None:
    """Print these characters, with a blank line for a line break. On a terminal, pause `pause_s` after each."""
    width = max(20, min(console.width, 96) - 2 * _MARGIN)
    paragraphs = [paragraph for paragraph in Text.assemble(*characters).split() if paragraph.plain.strip()]
    for number, paragraph in enumerate(paragraphs):
        if number:
            console.print()
        for line in paragraph.wrap(console, width):
            line.rstrip()
            console.print(" " * _MARGIN, end="")
            slowly = pause_s and console.is_terminal
            for part in line.divide(range(1, len(line))) if slowly else [line]:
                console.print(part, end="", soft_wrap=True)
                if slowly:
                    console.file.flush()
                    time.sleep(pause_s)
            console.print()
