"""What a million streams need: python -m bench.fleet [--streams N] [--rate HZ] [--hidden H], in a clone.

It measures on this machine what a step, a frame on the wire, a session and a state cost, and computes the rest from
that: `bench.fleet.plan` has the arithmetic. `--page FILE` puts the tables into a page of the documents.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from bench.fleet.measure import found_of, state_sizes
from bench.fleet.plan import Fleet, tables
from bench.serve.setting import Setting
from fastgru.bench.machine import cpu_model
from fastgru.simd.target import TARGET

__all__ = ["main"]

_HELP = {
    "streams": "how many", "rate": "frames a second of each", "share": "of cores, links and memory that may be in use",
    "cores": "of a machine", "gbit": "of a machine's network, each way", "gib": "of a machine's memory",
    "machines": "of a rack",
}  # fmt: skip


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__.partition("\n")[0])
    for field in fields(Fleet):
        kind = type(field.default)
        parser.add_argument(
            f"--{field.name}", type=kind, default=field.default, help=f"{_HELP[field.name]}; %(default)s"
        )
    parser.add_argument("--hidden", type=int, default=128, metavar="H", help="units of the GRU; %(default)s")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement; %(default)s")
    parser.add_argument("--on", default="0,1", metavar="CLIENT,SERVER", help="the cores that measure; %(default)s")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables into this page")
    options = vars(parser.parse_args(words))
    fleet = Fleet(**{field.name: options[field.name] for field in fields(Fleet)})
    client, server = map(int, options["on"].split(","))
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), client_core=client, server_core=server)
        found, states = found_of(setting, options["hidden"], options["seconds"]), state_sizes(setting, fleet.streams)
    told = (
        f"Measured on {cpu_model()} ({TARGET.short}), {datetime.now(UTC):%Y-%m-%d}, by `python -m bench.fleet"
        f"{_said(fleet, options)}`; the server ran on one core and the client on another. The tables are for"
        f" {fleet.streams:,} streams at {fleet.rate:g} frames a second, and a GRU with {found.hidden} units and inputs."
        f" A session takes {found.session_bytes:,.0f} bytes of the server's memory with its connection."
    )
    needs, machine, failure = tables(fleet, found)
    parts = {"needs": f"{told}\n\n{needs}", "machine": machine, "states": states, "failure": failure}
    for part in parts.values():
        print("\n" + part)
    if page := options["page"]:
        text = page.read_text(encoding="utf-8")
        for name, part in parts.items():
            text = placed(text, name, part)
        page.write_text(text, encoding="utf-8")
    return 0


def placed(text: str, name: str, part: str) -> str:
    """Return the page with this part between the comments of that name. Raises `ValueError` if they are missing."""
    between = re.compile(rf"(<!-- fleet: {name}; [^\n]* -->\n).*?(<!-- fleet: end of {name} -->)", re.DOTALL)
    new, count = between.subn(lambda match: f"{match[1]}\n{part}\n\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"the page has {count} places for {name!r}, expected 1")
    return new


def _said(fleet: Fleet, options: dict[str, object]) -> str:
    """Return the options that differ from the defaults."""
    given = {f.name: getattr(fleet, f.name) for f in fields(Fleet) if getattr(fleet, f.name) != f.default}
    if options["hidden"] != 128:
        given["hidden"] = options["hidden"]
    return "".join(f" --{name} {value}" for name, value in given.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
