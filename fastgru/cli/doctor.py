"""`fastgru doctor`: describes this machine and what was chosen for it."""

import platform
from typing import Any

import click
from rich.text import Text

import fastgru
from fastgru.cli.options import json_option, show
from fastgru.terminal import bytes_of, plain_table, print_facts, stdout, version_of

__all__ = ["command", "examine"]

_PACKAGES = ("numpy", "numba", "llvmlite", "onnx", "click", "rich")
_RUNTIMES = ("onnxruntime", "openvino", "torch", "keras")


@click.command("doctor")
@click.option(
    "--kernels", "with_kernels", is_flag=True, help="Also list every kernel and the target that it is built for."
)
@json_option
def command(with_kernels: bool, as_json: bool) -> None:
    """Show the CPU, the target that kernels are built for, the cache of kernels and the versions of all packages.

    Please include this output when you report a problem. --json always contains the kernels.
    """
    found = examine()
    show(found, lambda: _print(found, with_kernels), as_json=as_json)


def examine() -> dict[str, Any]:
    """Return everything that `doctor` prints, as plain data."""
    from fastgru.engine.faster import describe
    from fastgru.kernels import table
    from fastgru.simd import cache, cpu, target

    return {
        "cpu": cpu.describe(),
        "target": target.describe(),
        "kernels": [dict(zip(("op", "dtype", "target", "state"), row, strict=True)) for row in table.table()],
        "auto": describe(),
        "cache": cache.describe(),
        "python": {"version": platform.python_version(), "system": platform.platform()},
        "fastgru": fastgru.__version__,
        "packages": {name: version_of(name) for name in _PACKAGES},
        "runtimes": {name: version_of(name) for name in _RUNTIMES},
    }


def _print(found: dict[str, Any], with_kernels: bool) -> None:
    console = stdout()
    cpu, cache, target, auto = (found[name] for name in ("cpu", "cache", "target", "auto"))
    lanes = ", ".join(f"{count} lanes of {dtype}" for dtype, count in target["lanes"].items())
    forced = f", forced by FASTGRU_TARGET={target['forced']}; this CPU's own is {target['best']}"
    tuned = ", tuned for this very CPU by FASTGRU_TUNE=native" if target["tuned"] else ""
    state = "writable" if cache["writable"] else "read-only: what it lacks is compiled in each process"
    if cache["problem"]:
        state = f"not used: {cache['problem']}; FASTGRU_CACHE_DIR names another"
    sections = {
        "CPU": {
            "name": f"{cpu['cpu']} ({cpu['machine']}), {cpu['cores']} cores",
            "target": f"{target['name']} ({lanes}){forced if target['forced'] else ''}{tuned}",
            "features": " ".join(cpu["features"]) or "none of those that matter here",
            "caches": ", ".join(f"{level} {bytes_of(size)}" for level, size in cpu["cache_bytes"].items()),
        },
        "Higher levels, which this CPU does not run": target["missing"],
        'What precision="auto" takes, and "auto-int8"': {
            precision: text or "for no weights: float32 is faster in batches"
            for precision, text in auto["least"].items()
        },
        "Compiled kernels": {
            "of this wheel": f"{cache['prebuilt']} for this target"
            if cache["prebuilt"]
            else "none: it brings no compiled kernels",
            "folder": f"{cache['directory'] or 'none'} ({state})",
            "subfolders": ", ".join(cache["folders"]) or "none",
            "contents": f"{cache['entries']} kernels, {bytes_of(cache['bytes'])}"
            + ("" if cache["entries"] or cache["prebuilt"] else "; `fastgru warmup` fills it"),
        },
        "Python": {"version": f"{found['python']['version']} on {found['python']['system']}"},
        "Packages": {"fastgru": found["fastgru"], **_told(found["packages"])},
        "Other runtimes, for verify": _told(found["runtimes"]),
    }
    for title, facts in sections.items():
        if not facts:
            continue
        console.print(Text(title, style="bold"))
        print_facts(console, facts)
    if not with_kernels:
        return
    by_op: dict[tuple[str, str], list[str]] = {}
    for row in found["kernels"]:
        by_op.setdefault((row["op"], row["target"]), []).append(row["dtype"])
    rows = [(op, " ".join(dtypes), level) for (op, level), dtypes in by_op.items()]
    console.print(plain_table("kernel", "precisions", "built for", rows=rows, sentences=("precisions",)))


def _told(versions: dict[str, str | None]) -> dict[str, str]:
    return {name: version or "not installed" for name, version in versions.items()}
