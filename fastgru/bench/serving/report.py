"""Describes a server under load for people: the same lines in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from fastgru.bench import machine
from fastgru.bench.serving.outcome import PERCENTILES, Outcome, percentile
from fastgru.bench.serving.result import ServingResult
from fastgru.bench.words import machine_line
from fastgru.terminal import counted, plain_table, time_of

__all__ = ["findings", "headings", "print_serving", "tables"]

_EXAMPLES = 8


def print_serving(result: ServingResult, console: Console) -> None:
    """Print everything in `result`."""
    for line in headings(result):
        console.print(Text(line, style="dim"))
    console.print(Text(result.demand.title(), style="bold"))
    for heads, rows in tables(result):
        console.print(plain_table(*heads, rows=rows, right=heads[1:]))
    for kind, line in findings(result):
        console.print(Text(line, style="bold red" if kind == "bad" else ""))
    console.print(Text(f"in {result.seconds:.0f} s", style="dim"))


def headings(result: ServingResult) -> Iterator[str]:
    """Yield lines about what was measured and the client's machine."""
    server = result.server
    called = f"{server.name} {server.version}".strip() or "a server"
    inputs = ", ".join(f"{i.name} {i.datatype} {list(s)}" for i, s in zip(server.inputs, result.shapes, strict=True))
    yield f"{called} at {server.target.host}, model {server.model}, {result.protocol}: {inputs}"
    yield f"the client: {machine_line(machine.describe(()))}"


def tables(result: ServingResult) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Yield heads and rows of the times, with "-" if there are too few answers, and of the counts of requests."""
    steps = [(f"{step.value:,.5g}", step.outcome) for step in result.steps]
    steps += [(f"raw echo, {step.value:,.5g}", step.outcome) for step in result.floors]
    unit, late_ms = result.demand.unit, result.demand.late_ms
    times = [(name, f"{out.rate:,.5g}", *(_shown(out, p) for p in (*PERCENTILES, 100))) for name, out in steps]
    yield (unit, "answers/s", *(f"p{p:g}" for p in PERCENTILES), "max"), times
    counts = [
        (name, *(f"{n:,}" for n in (out.due, out.answered, out.late_by(late_ms), out.refused, out.failed)))
        for name, out in steps
    ]
    yield (unit, "due", "answered", "late", "refused", "failed"), counts


def _shown(out: Outcome, percent: float) -> str:
    found = percentile(out.latencies, percent)
    return "-" if found is None else time_of(found / 1e9)


def findings(result: ServingResult) -> Iterator[tuple[str, str]]:
    """Yield (kind, sentence); the kind is "bad" if something is wrong."""
    demand, outcomes = result.demand, [step.outcome for step in result.steps]
    if any(out.stopped for out in outcomes):
        yield "bad", "stopped before the end: the figures are of what was sent until then"
    due = "a request was due" if demand.open else "a request was sent"
    yield (
        "",
        f"latencies count from when {due}; an answer is late if no numbers have come {demand.late_ms:g} ms after that",
    )
    if demand.ramp is not None:
        held = "none" if result.held is None else result.held.words
        yield "", f"the highest load held, with 99 of 100 requests in time: {held}"
    for out in outcomes:
        yield from _refusals(out)
    for out in outcomes:
        yield from _errors(out)
    yield from _client(result)
    yield from _server(result)


def _refusals(out: Outcome) -> Iterator[tuple[str, str]]:
    if out.refused:
        told = percentile(out.refusals, 50)
        soon = "" if told is None else f"; the refusal came after {time_of(told / 1e9)} in the median"
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in out.reasons.most_common())
        yield "", f"{out.refused:,} of {out.due:,} requests were refused: {reasons}{soon}"
    if out.events:
        yield (
            "",
            "the server announced: " + ", ".join(f"{event} {count:,}" for event, count in out.events.most_common()),
        )


def _errors(out: Outcome) -> Iterator[tuple[str, str]]:
    for kind, count in out.errors.most_common(_EXAMPLES):
        yield "bad", f"{kind}: {counted(count, 'request')}, for example: {out.examples[kind]}"
    if out.broken:
        lost = ", ".join(f"{kind} {count:,}" for kind, count in out.broken.most_common(_EXAMPLES))
        yield "bad", f"connections that were lost, or that could not be made: {lost}"
    if out.lost:
        yield "" if out.stopped else "bad", f"{counted(out.lost, 'request')} had no answer at the end"


def _client(result: ServingResult) -> Iterator[tuple[str, str]]:
    outcomes = [step.outcome for step in result.steps]
    share, lag = max(out.client_share for out in outcomes), max(out.lag_ns for out in outcomes)
    yield (
        "",
        f"the client used at most {100 * share:.0f} % of a core, and its own loop was {time_of(lag / 1e9)} late at p99",
    )
    limited = [f"{step.words}: {words}" for step in result.steps if (words := step.outcome.client_limits)]
    if limited:
        yield "bad", f"the client or its machine, rather than the server, may be the limit ({'; '.join(limited)})"
    late_ms = result.demand.late_ms
    if any(not step.outcome.holds(late_ms) for step in result.floors):
        yield "bad", "the raw echo was late, too: this machine cannot keep up with the load, with any server"


def _server(result: ServingResult) -> Iterator[tuple[str, str]]:
    """Compare the server's counts with the answers that came."""
    grown = result.counted
    success, executions, inferences = (grown.get(name) for name in ("success", "executions", "inferences"))
    if success is None or executions is None or inferences is None:
        yield "", "the server has no statistics of the model, so the number of answers cannot be checked"
        return
    size = f" of {inferences / executions:.2g} on average" if executions else ""
    failure = grown.get("failure") or 0
    parts = [
        f"the server counted {success:,.0f} answers in {executions:,.0f} executions{size}, and {failure:,.0f} failures"
    ]
    for name, words in (("queue_ns", "in the queue"), ("compute_ns", "computed")):
        if (spent := grown.get(name)) is not None and success:
            parts.append(f"{time_of(spent / success / 1e9)} {words}")
    if (cpu := grown.get("cpu_s")) is not None and success:
        parts.append(f"{time_of(cpu / success)} of its CPU time a request")
    yield "", ", ".join(parts)
    if not result.agrees:
        more = (
            "somebody else uses the server, or answers were lost"
            if success > result.answered
            else "the server counts fewer than it sends"
        )
        yield "bad", f"{result.answered:,} answers came, which is another number: {more}"
