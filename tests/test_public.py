"""What the package promises by name: `__all__` everywhere, docstrings, and an import that drags nothing heavy in."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fastgru

ROOT = Path(fastgru.__file__).parent
MODULES = sorted(
    ".".join(("fastgru", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.name != "__main__.py"
)
HEAVY = ("click", "h5py", "keras", "llvmlite", "numba", "onnx", "onnxruntime", "rich", "safetensors", "torch")


def source_of(name: str) -> Path:
    folder = ROOT.joinpath(*name.split(".")[1:])
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def order(name: str) -> tuple[int, list[tuple[int, int | str]]]:
    """Constants, then classes, then functions, numbers by their value: the order that ruff keeps."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return kind, [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def made_here(tree: ast.Module) -> set[str]:
    """Names without an underscore that the module defines: functions, classes, constants; type variables are not."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def imported(name: str) -> ModuleType:
    if name.startswith("fastgru.serve."):
        pytest.importorskip("uvicorn", reason="needs the extra serve")
    if name == "fastgru.scoring.ray":
        pytest.importorskip("ray", reason="needs the extra ray")
    return importlib.import_module(name)


@pytest.mark.parametrize("name", MODULES)
def test_a_list_of_names_is_sorted_and_every_name_is_there(name: str) -> None:
    module = imported(name)
    names = getattr(module, "__all__", None)
    if names is None:
        assert not made_here(ast.parse(source_of(name).read_text(encoding="utf-8"))), "public names, and no __all__"
        return
    assert list(names) == sorted(set(names), key=order)
    for public in names:
        assert getattr(module, public) is not None


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_what_is_public_in_them_have_docstrings(name: str) -> None:
    module = imported(name)
    assert (module.__doc__ or "").strip(), name
    bare = []
    for public in getattr(module, "__all__", ()):
        thing = getattr(module, public)
        if getattr(thing, "__module__", name) != name or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if not (thing.__doc__ or "").strip():
            bare.append(public)
    assert not bare, f"{name}: no docstring on {', '.join(bare)}"


def test_what_users_meet_is_explained() -> None:
    """Every method of the classes that `fastgru` itself exports; a method may have its parent's words."""
    bare = []
    for public in fastgru.__all__:
        cls = getattr(fastgru, public)
        if not inspect.isclass(cls):
            continue
        for name, member in vars(cls).items():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if not name.startswith("_") and inspect.isfunction(function) and not inspect.getdoc(getattr(cls, name)):
                bare.append(f"{public}.{name}")
    assert not bare, f"no docstring on {', '.join(bare)}"


def test_every_public_name_is_imported_by_a_star() -> None:
    names: dict[str, object] = {}
    exec("from fastgru import *", names)
    assert set(fastgru.__all__) <= set(names)
    assert set(fastgru.__all__) <= set(dir(fastgru))


def test_every_layer_and_every_error_is_public() -> None:
    from fastgru import errors, layers

    assert set(layers.__all__) | set(errors.__all__) <= set(fastgru.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'fly'"):
        fastgru.fly  # noqa: B018


def test_every_error_of_ours_is_in_one_tree() -> None:
    from fastgru import errors

    kinds = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(kind, errors.FastGRUError) for kind in kinds if not issubclass(kind, Warning))


def run_python(code: str, **environment: str) -> str:
    env = {**os.environ, **environment}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=env
    )
    return result.stdout


def test_the_import_is_light() -> None:
    code = f"import sys, json, fastgru\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert json.loads(run_python(code)) == []


def test_public_packages_are_attributes_without_an_import_of_their_own() -> None:
    names = ["compat", "learn", "onnx_backend", "quantization", "reference", "scoring", "serve"]
    code = (
        "import json, sys, fastgru\n"
        f"before = [name for name in {names!r} if 'fastgru.' + name in sys.modules]\n"
        f"print(json.dumps([before, [getattr(fastgru, name).__name__ for name in {names!r}]]))\n"
    )
    before, found = json.loads(run_python(code))
    assert before == []
    assert found == [f"fastgru.{name}" for name in names]
    assert set(names) <= set(dir(fastgru))


def test_verify_stays_the_function_whatever_is_imported() -> None:
    code = (
        "import fastgru, fastgru.verify\n"
        "from fastgru.verify import Report\n"
        "import fastgru.verify.report, fastgru.load\n"
        "print(callable(fastgru.verify), callable(fastgru.load), Report.__name__)\n"
    )
    assert run_python(code).split() == ["True", "True", "Report"]


def test_reading_weights_and_graphs_needs_no_compiler(tmp_path: Path) -> None:
    """The importers run where Numba is not wanted: `read_weights` and `load_graph` do not import it."""
    np.savez(tmp_path / "weights.npz", a=np.zeros(3))
    code = (
        "import json, sys, fastgru\n"
        f"fastgru.read_weights({str(tmp_path / 'weights.npz')!r})\n"
        f"fastgru.load_graph({str(ROOT / 'data' / 'demo.safetensors')!r})\n"
        "print(json.dumps([m for m in ('numba', 'llvmlite', 'torch', 'keras', 'onnxruntime') if m in sys.modules]))\n"
    )
    assert json.loads(run_python(code)) == []


def test_running_a_model_needs_no_compiler() -> None:
    """Whatever the engine must know of a kernel stands in `kernels.operands`: a lowering imports no kernel module."""
    code = (
        "import json, sys\n"
        "import fastgru.model, fastgru.layers\n"
        "from fastgru.kernels import run, table\n"
        "heavy = ('numba', 'fastgru.kernels.registry', 'fastgru.simd.compiler', 'fastgru.simd.memory')\n"
        "print(json.dumps([m for m in heavy if m in sys.modules]))\n"
    )
    assert json.loads(run_python(code)) == []


def test_what_takes_long_to_import_is_imported_where_it_is_needed(tmp_path: Path) -> None:
    """A start consists of imports: of these none is needed to read an ONNX file with a GRU and to run it."""
    shapes = {"weight_ih_l0": (24, 4), "weight_hh_l0": (24, 8), "weight": (3, 8), "bias": (3,)}
    weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    gru = fastgru.GRU.from_torch({name: weights[name] for name in ("weight_ih_l0", "weight_hh_l0")})
    fastgru.Sequential(gru, fastgru.Linear(weights["weight"], weights["bias"])).to_onnx(tmp_path / "model.onnx")
    code = (
        "import sys\n"
        "import numpy as np\n"
        "before = set(sys.modules)\n"
        "import fastgru\n"
        f"model = fastgru.load({str(tmp_path / 'model.onnx')!r})\n"
        "model(np.zeros((5, 1, 4), np.float32))\n"
        "heavy = ('llvmlite.binding', 'llvmlite.ir', 'ml_dtypes', 'statistics', 'secrets', 'importlib.resources',\n"
        "         'subprocess', 'click', 'rich', 'yaml', 'onnx', 'google.protobuf.text_format', 'json', 'graphlib',\n"
        "         'zlib', 'mmap', 'base64', 'fastgru.onnx_backend', 'fastgru.importers.onnx.loops',\n"
        "         'fastgru.streaming', 'fastgru.graphfile', 'fastgru.exporters', 'fastgru.engine.profile',\n"
        "         'fastgru.engine.ops.matmul', 'fastgru.reference.audited', 'fastgru.importers.archive')\n"
        "print([m for m in heavy if m in sys.modules and m not in before])\n"
    )
    run_python(code)  # it may compile
    assert run_python(code) == "[]\n"


def test_what_protobuf_imports_late_is_there_for_others() -> None:
    code = (
        "import sys\n"
        "import fastgru.importers.onnx\n"
        "from google.protobuf.internal import api_implementation\n"
        "late = 'google.protobuf.text_format' not in sys.modules\n"
        "print(late or api_implementation.Type() != 'upb')\n"
        "import google.protobuf.internal.python_message as messages\n"
        "print(messages.GeneratedProtocolMessageType.__name__, 'google.protobuf.text_format' in sys.modules)\n"
        "import onnx\n"
        "print(onnx.ModelProto is fastgru.importers.onnx.proto.ModelProto)\n"
    )
    assert run_python(code).split() == ["True", "GeneratedProtocolMessageType", "True", "True"]


def test_the_locks_of_the_package_are_those_of_one_file() -> None:
    """Any other would be found taken by a vanished thread after a fork, or by the thread that a handler interrupts."""
    takes_locks = re.compile(r"\b(R?Lock|Condition|Semaphore|Event|Queue|cached_property|SimpleQueue)\b\(?")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if takes_locks.search(path.read_text(encoding="utf-8"))
        and path.parts[len(ROOT.parts)] not in ("bench", "cli", "serve", "terminal")
    }
    assert found == {"process.py"}


def test_signatures_are_short() -> None:
    """`help` prints them: an alias of NumPy's stands there by its name."""
    long = []
    for public in fastgru.__all__:
        thing = getattr(fastgru, public)
        members = inspect.getmembers(thing, callable) if inspect.isclass(thing) else [("", thing)]
        for name, member in members:
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function) and "numpy._typing" in str(inspect.signature(function)):
                long.append(f"{public}.{name}")
    assert not long, f"annotations are expanded in {', '.join(long)}"


def test_readme_and_troubleshooting_name_every_error() -> None:
    from fastgru import errors

    root = ROOT.parent
    if not (root / "docs").is_dir():
        pytest.skip("the documents are not beside the package")
    text = (root / "docs/pages/troubleshooting.md").read_text(encoding="utf-8")
    readme = (root / "README.md").read_text(encoding="utf-8")
    for name in errors.__all__:
        assert f"## `{name}`\n" in text, name
        assert f"`{name}`" in readme, name
