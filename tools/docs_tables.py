"""The tables in the documents that are made from the code, so that none is typed by hand.

A page has a table between `<!-- table: NAME -->` and `<!-- end of table -->`. `tools/update_readme.py PAGE` fills it.
"""

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

__all__ = ["TABLES", "fill", "tables"]

# Methods that the importers call themselves, but that authors of operators and layers do not.
_INTERNAL: Final = {
    "attrs.unread",
    *(f"build.{name}" for name in ("add", "add_many", "apart", "graph", "input", "needed", "read", "sharing")),
    *(f"graph.{name}" for name in ("graph", "input", "needed", "read")),
}
EXAMPLES: Final = Path(__file__).resolve().parents[1] / "docs" / "examples"
_TABLE: Final = re.compile(
    r"^(?P<begin><!-- table: (?P<name>[\w-]+) -->)$(?P<rows>.*?)^(?P<end><!-- end of table -->)$",
    re.MULTILINE | re.DOTALL,
)


def onnx_operators() -> str:
    """Every ONNX operator that is read: from which opset, in which versions of its definition, with which limits."""
    from onnx import defs

    from fastgru.importers.onnx import operators

    rows = []
    for op in operators():
        schema = defs.get_schema(op.name, op.versions[-1], "")
        sizes = [schema.inputs[min(i, len(schema.inputs) - 1)].name for i in op.sizes if i not in op.constants]
        limits = [
            op.limits,
            _must(op.constants.values(), "be known when the file is read"),
            _must(sizes, "follow from constants and shapes"),
        ]
        rows.append((f"`{op.name}`", str(op.since), ", ".join(map(str, op.versions)), "; ".join(filter(None, limits))))
    return _table(
        ("operator", "from opset", "versions known", "limits"), sorted(rows, key=lambda row: row[0].strip("`"))
    )


def onnx_of_optimisers() -> str:
    """The operators of onnxruntime's optimisers that are read."""
    from fastgru.importers.onnx import operators
    from fastgru.importers.onnx.registry import MICROSOFT, OF_OPTIMISERS

    rows = [(f"`{name}`", _named(op.name for op in operators(domain))) for domain, name in
            ((MICROSOFT, "com.microsoft"), (OF_OPTIMISERS, "ai.onnx"))]  # fmt: skip
    return _table(("domain", "operators"), rows)


def onnx_refused() -> str:
    """The operators that are refused, with a workaround for those that have one of their own."""
    from fastgru.importers.onnx import operators
    from fastgru.importers.onnx.refusals import _OF_MICROSOFT, _WAYS

    read = {op.name for op in operators()}
    rows = []
    for domain, ways in (("ai.onnx", _WAYS), ("com.microsoft", _OF_MICROSOFT)):
        names = [op for op in ways if domain != "ai.onnx" or op not in read]
        rows += [(domain, _named(op for op in names if ways[op] == way), way) for way in dict.fromkeys(ways.values())]
    part = "[load a part](onnx.md#load-a-part-of-a-model) without the operator"
    rows.append(("ai.onnx", "every other", f'[`fallback="reference"`](#by-the-fallback); simplify the file, or {part}'))
    return _table(("domain", "operators", "workaround"), rows)


def onnx_fallback() -> str:
    """The forms of operators that onnx's reference implementation may run."""
    from fastgru.reference.audited import AUDITED

    rows = []
    for (domain, op), entry in sorted(AUDITED.items()):
        limits = [
            f"`{name}` is {' or '.join(f'`{value}`' for value in values)}" if values else f"no `{name}`"
            for name, values in entry.attributes.items()
        ]
        limits += [f"{' to '.join(map(str, dict.fromkeys(entry.inputs)))} inputs"] if entry.inputs is not None else []
        limits += [f"{entry.outputs} output"] if entry.outputs is not None else []
        dtypes = "; ".join(f"{name}: {kinds.replace(' ', ', ')}" for name, kinds in entry.dtypes.items())
        versions = ", ".join(map(str, entry.versions))
        rows.append((domain or "ai.onnx", f"`{op}`", versions, dtypes, "; ".join(limits)))
    return _table(("domain", "operator", "versions", "dtypes", "limits"), rows)


def onnx_fallback_refused() -> str:
    """The operators of ONNX that neither an importer reads nor the fallback runs, by domain."""
    from onnx import defs

    from fastgru.importers.onnx import operators
    from fastgru.reference.audited import AUDITED

    known = {*AUDITED, *(("", op.name) for op in operators())}
    refused = sorted({(schema.domain, schema.name) for schema in defs.get_all_schemas()} - known)
    domains = dict.fromkeys(domain for domain, _ in refused)
    rows = [(domain or "ai.onnx", _named(op for d, op in refused if d == domain)) for domain in domains]
    rows.append(("any", "operators that fastgru or the fallback runs, in forms that neither of them runs"))
    return _table(("domain", "operators"), rows)


def _must(names: Iterable[str], what: str) -> str:
    joined = ", ".join(names)
    return f"{joined} must {what}" if joined else ""


def onnx_exports() -> str:
    """The operators of our graphs that become ONNX nodes."""
    from fastgru.exporters.onnx import exported

    return _table(("", "operators of fastgru's graphs"), [("written", _named(exported()))])


def keras_layers() -> str:
    """The Keras layers and operations that are read."""
    from fastgru.importers.keras.registry import layers, operations

    kinds = {"layers": layers(), "functions of `keras.ops`": operations()}
    return _table(("kind", "read"), [(kind, _named(names)) for kind, names in kinds.items()])


def keras_masks() -> str:
    """What each layer does with a mask, before Keras 3 and since."""
    from fastgru.importers.keras.masks import MASKS

    kinds: dict[tuple[str, str], list[str]] = {}
    for name, (before, since) in sorted(MASKS.items()):
        kinds.setdefault((before.value, since.value), []).append(name)
    rows = [(_named(names), before, since) for (before, since), names in sorted(kinds.items(), reverse=True)]
    drop = "ignores and drops the mask"
    return _table(
        ("layer", "Keras 1 and 2", "Keras 3"), [*rows, ("all others, and functions of `keras.ops`", drop, drop)]
    )


def architecture_types() -> str:
    """The types of layers in a description, with their options."""
    from fastgru.importers.architecture import types

    rows = []
    for name, kind in types().items():
        least, most = kind.inputs
        count = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        states = "yes" if kind.has_states else ""
        rows.append((f"`{name}`", count, _named(kind.options), _named(kind.sizes), _named(kind.training), states))
    return _table(("type", "inputs", "options", "checked", "accepted", "states"), rows)


def onnx_helpers() -> str:
    """What the function of an ONNX operator may call, with the first sentence of each docstring."""
    from fastgru.importers.onnx.attributes import Attributes
    from fastgru.importers.onnx.builder import OnnxGraphBuilder
    from fastgru.importers.onnx.registry import OnnxNode

    return _helpers({"node": OnnxNode, "node.attrs": Attributes, "build": OnnxGraphBuilder})


def keras_helpers() -> str:
    """What the function of a Keras layer may call, with the first sentence of each docstring."""
    from fastgru.importers.keras.call import Call, KerasGraphBuilder
    from fastgru.importers.keras.config import LayerConfig

    return _helpers({"call": Call, "call.layer": LayerConfig, "call.graph": KerasGraphBuilder})


def _helpers(objects: Mapping[str, type]) -> str:
    """Return a row for each public method and property that fastgru's classes define, under the name of an object."""
    rows = []
    for name, kind in objects.items():
        found: dict[str, Any] = {}
        for base in reversed(kind.__mro__):
            if base.__module__.startswith("fastgru."):
                found |= {key: value for key, value in vars(base).items() if not key.startswith("_")}
        for key, value in found.items():
            if f"{name.rpartition('.')[2]}.{key}" in _INTERNAL:
                continue
            if isinstance(value, property):
                rows.append((f"`{name}.{key}`", _first_sentence(value)))
            elif inspect.isfunction(value):
                taken = [str(p).split(":")[0].split("=")[0].strip() for p in _parameters(value)]
                rows.append((f"`{name}.{key}({', '.join(taken)})`", _first_sentence(value)))
    return _table(("call", "returns or does"), rows)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return all parameters except `self`."""
    return list(inspect.signature(function).parameters.values())[1:]


def _first_sentence(documented: Any) -> str:
    text = " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())
    assert text, f"{documented} has no docstring"
    return re.split(r"(?<=\.) (?=[A-Za-z])", text)[0]


def floors() -> str:
    """The layers of the package, from the contract that import-linter checks, with their modules' first sentences."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    contract = tomllib.loads(text)["tool"]["importlinter"]["contracts"][0]
    rows = []
    for layer in contract["layers"]:
        names = [name.strip() for name in layer.split("|")]
        texts = [" ".join((importlib.import_module(name).__doc__ or "").split("\n\n")[0].split()) for name in names]
        rows.append((_named(name.removeprefix("fastgru.") for name in names), " ".join(texts)))
    return _table(("package or module", "contents"), rows)


def serve_options() -> str:
    """Every option of the server, from the fields of its settings."""
    from dataclasses import fields

    from fastgru.serve.settings import Settings

    rows = []
    for field in fields(Settings):
        option = "MODEL..." if field.name == "models" else "--" + field.name.replace("_", "-")
        rows.append((f"`{option}`", _default(field.default, field.metadata["unit"]), field.metadata["doc"]))
    return _table(("option", "default", "meaning"), rows)


def _default(value: Any, unit: str) -> str:
    if value is False:
        return "off"
    if value is None or value == ():
        return ""
    if unit == "bytes":
        power = max(p for p in range(4) if value % 1024**p == 0)
        return f"{value // 1024**power:,} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"
    number = f"{value:,g}" if isinstance(value, float) else str(value)
    return f"{number} {unit}".strip()


def serve_errors() -> str:
    """The statuses with which the server refuses, and their reasons, found in the code that raises them."""
    folder = Path(__file__).resolve().parents[1] / "fastgru" / "serve"
    found: dict[int, set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(text := path.read_text(encoding="utf-8"))
        # `bad` for messages of a WebSocket is another function than `bad` for requests.
        word = "message" if path.name == "lease.py" or "from fastgru.serve.lease import" in text else "request"
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name, given = getattr(call.func, "id", None), [*call.args, None, None, None]
            name = name or getattr(call.func, "attr", "")  # `__init__` of an error class
            if name in ("Fault", "ServeError", "refusal", "__init__"):
                status, _, reason = given[:3]
                reason = next((word.value for word in call.keywords if word.arg == "reason"), reason)
            elif name == "malformed":
                status, reason = ast.Constant(400), ast.Constant(name)
            elif name == "bad":
                status, reason = ast.Constant(400), given[1] or ast.Constant(word)
            else:
                continue
            for value in _constants(status):
                found.setdefault(value, set()).update(_constants(reason))
    return _table(("status", "reasons"), [(str(status), _named(sorted(found[status]))) for status in sorted(found)])


def serve_grpc_methods() -> str:
    """The calls that exist, and those of Triton's that do not, with workarounds."""
    from fastgru.serve.grpc.methods import METHODS, NOT_HERE

    rows = [(f"`{name}`", text) for name, text in METHODS.items()]
    ways: dict[str, list[str]] = {}
    for name, way in NOT_HERE.items():
        ways.setdefault(way, []).append(name)
    rows += [(_named(names), f"`UNIMPLEMENTED`: {way}") for way, names in ways.items()]
    return _table(("call", "meaning"), rows)


def serve_grpc_codes() -> str:
    """The gRPC status for each HTTP status."""
    from fastgru.serve.grpc.codes import CODES

    names: dict[str, list[str]] = {}
    for status, (_, name) in CODES.items():
        names.setdefault(name, []).append(str(status))
    return _table(("gRPC", "HTTP"), [(f"`{name}`", ", ".join(statuses)) for name, statuses in names.items()])


def triton_differences() -> str:
    """Where answers differ from Triton's, and why, from the list that the tests check."""
    path = Path(__file__).resolve().parents[1] / "bench" / "serving" / "differential" / "exceptions.toml"
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["differs"]
    return _table(("what differs", "in fastgru"), [(row["said"], row["reason"]) for row in rows])


def _constants(node: ast.expr | None) -> list[Any]:
    """Return the value of a constant, or the values of both sides of a conditional expression."""
    if isinstance(node, ast.IfExp):
        return [*_constants(node.body), *_constants(node.orelse)]
    return [node.value] if isinstance(node, ast.Constant) else []


def example(path: Path) -> str:
    """Return a program of docs/examples/ as a code block. A test of its own runs it."""
    kind = {".py": "python", ".html": "html"}[path.suffix]
    return f"<!-- example: {path.name} -->\n```{kind}\n{path.read_text(encoding='utf-8')}```"


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "architecture-types": architecture_types,
    "floors": floors,
    "keras-helpers": keras_helpers,
    "keras-layers": keras_layers,
    "keras-masks": keras_masks,
    "onnx-exports": onnx_exports,
    "onnx-fallback": onnx_fallback,
    "onnx-fallback-refused": onnx_fallback_refused,
    "onnx-helpers": onnx_helpers,
    "onnx-operators": onnx_operators,
    "onnx-of-optimisers": onnx_of_optimisers,
    "onnx-refused": onnx_refused,
    "serve-errors": serve_errors,
    "serve-grpc-codes": serve_grpc_codes,
    "serve-grpc-methods": serve_grpc_methods,
    "serve-options": serve_options,
    "triton-differences": triton_differences,
    **{f"example-{path.stem}": partial(example, path) for path in sorted(EXAMPLES.iterdir())},
}


def fill(markdown: str) -> str:
    """Return the text with every table filled in. Raises `KeyError` for a name that `TABLES` lacks."""
    return _TABLE.sub(lambda match: f"{match['begin']}\n\n{TABLES[match['name']]()}\n\n{match['end']}", markdown)


def tables(markdown: str) -> list[str]:
    """Return the contents of the tables of a page."""
    return [match["rows"] for match in _TABLE.finditer(markdown)]


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
