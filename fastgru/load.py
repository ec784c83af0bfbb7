"""Loads a model from a file; the content of the file decides which importer reads it."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

import numpy as np

from fastgru.arrays import frozen
from fastgru.budget import PLAN_BYTES
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.graph import Graph, Node, inlined
from fastgru.nearest import offered
from fastgru.precisions import Precision
from fastgru.process import lock, short_lock
from fastgru.sources import Content, Source, opened, source_name

if TYPE_CHECKING:
    from fastgru.importers.architecture.description import Architecture
    from fastgru.model import Model

__all__ = [
    "STATE_DICTS",
    "Reading",
    "check_options",
    "demo_path",
    "from_architecture",
    "load",
    "load_graph",
    "options_for",
]

# The formats of `read_weights`, whose files `load` reads with `architecture=`.
STATE_DICTS: Final = ("hdf5", "json", "keras", "npz", "safetensors", "torch-legacy", "torch-zip")

# The modules that read each kind of file, without those for the weights of other programs.
_READERS: Final = {
    "onnx": ("importers.onnx",),
    "hdf5": ("importers.keras",),
    "keras": ("importers.keras",),
    "json": ("importers.rtneural", "importers.keras"),
    "safetensors": ("graphfile",),
}

# The formats that each option of `load` applies to.
_MEANT_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    "linear_before_reset": ("onnx",),
    "inputs": ("hdf5", "keras", "onnx", "safetensors"),
    "outputs": ("hdf5", "keras", "onnx", "safetensors"),
    "custom_objects": ("hdf5", "keras"),
    "fallback": ("onnx", "safetensors"),
    "architecture": STATE_DICTS,
    "key": ("json", "torch-legacy", "torch-zip"),
    "max_iterations": ("onnx", "safetensors"),
}


class Reading(TypedDict, total=False):
    """The options for reading a file; the docstring of `load` describes them."""

    allow_unread: bool
    linear_before_reset: int | None
    inputs: list[str] | Mapping[str, Any] | None
    outputs: list[str] | None
    fallback: str | None
    architecture: Architecture | None
    key: str | None
    max_iterations: int | None
    open_states: bool
    custom_objects: Mapping[str, Any] | str | PathLike[str] | None


def load(
    source: Source,
    *,
    precision: Precision | None = None,
    threads: int = 1,
    spin_us: float = 0,
    plan_bytes: int = PLAN_BYTES,
    **options: Unpack[Reading],
) -> Model:
    """Read a trained model and make it ready to run.

    source: the path or the bytes of a file: ONNX, Keras (.keras, .h5), RTNeural's JSON, or what `Model.save` wrote.
        With `architecture=`, any file that `read_weights` reads.
    precision: "float32" or "float64"; "bfloat16" or "int8" to store weights in fewer bytes and compute the rest in
        float32; "auto" to let each weight become bfloat16 if this CPU is no slower with it, "auto-int8" to allow
        int8 as well. A mapping gives single nodes a precision of their own, by name or output; "*" stands for the rest.
        None means "float32", or the precisions that the file was saved with.
    threads: the number of cores that a call may use.
    spin_us: for how many microseconds, at most 10,000, the threads wait actively for the next call after one has ended.
        With 0 they sleep at once. Calls in a tight loop are faster if they need not wake the threads.
    plan_bytes: how much memory the plans for different input shapes may take. Plans that were used least are dropped,
        and made again if their shapes come back.
    allow_unread: accept tensors of the file that nothing reads. Otherwise they are an error.
    linear_before_reset: for ONNX, 0 or 1 overrides this attribute of every GRU.
    inputs: load a part of a model: names of tensors, or of layers for Keras, that become the inputs instead of the
        model's own. Nothing before them is read. A dict also gives shapes, with the batch and with None for free sizes:
        {"encoded": (None, None, 64)}. They replace those of the file.
    outputs: names of tensors or layers that become the outputs, instead of those of the model.
    custom_objects: for Keras, a dict with replacements for layers whose code is not in the file. A key is the name of a
        layer, of its class, or of the function that it calls. A value is a function of NumPy arrays, which runs in
        Python between the native parts (`Model.python_layers` lists them); a description of layers, a layer of this
        package, or a model; the name of a class of Keras; or a `CustomLayer` around one of these. The path of a file is
        also accepted: a Python file is run and must define the dict `custom_objects`; a YAML or JSON file has
        descriptions by name.
    fallback: for ONNX, "reference" lets onnx's own reference implementation run the nodes that fastgru does not
        implement. These nodes are slow. Only operators that were proved to give the numbers of ONNX Runtime are run in
        this way; `Model.reference_nodes` lists the nodes. With None such nodes are refused.
    architecture: for a file that holds only weights, a description of the network: a path, the bytes of a file in YAML
        or JSON, or a mapping. For the weights of a Keras model, the text that its `to_json` returned.
    key: for a checkpoint with several dicts of tensors, the dotted path of the one to read.
    max_iterations: for ONNX, how many iterations all loops of one run may have together. None means 100,000. Loops over
        the steps of an input do not count.
    open_states: make every state that begins inside the file an input and an output of the model, so that it streams.

    Raises `UnsupportedModelError` with everything that cannot be run and a workaround, `InvalidModelError` for a
    damaged file, `UnreadTensorsError` for tensors that nothing reads, and `FileNotFoundError`.
    """
    check_options(load, options)
    with _collector_paused():
        _prepare("model")
        from fastgru.kernels.run import plain_mode
        from fastgru.model import Model

        with plain_mode():
            graph = load_graph(source, **options)
        return Model(graph, precision=precision, threads=threads, spin_us=spin_us, plan_bytes=plan_bytes)


def check_options(call: Any, options: Mapping[str, Any]) -> None:
    """Raise `TypeError` for options that are neither parameters of `call` nor options for reading a file."""
    if unknown := sorted(options.keys() - Reading.__annotations__.keys()):
        known = dict.fromkeys((*(call.__kwdefaults__ or ()), *Reading.__annotations__))
        raise TypeError(f"{call.__name__} has no option {', '.join(unknown)}; {offered(unknown, known)}")


class _Collector:
    """The state of the pause of Python's cyclic garbage collector.

    pauses: how many calls want it paused. first: whether no pause has ended so far. was_on: whether it was on before.
    """

    pauses = 0
    first = True
    was_on = False
    lock = short_lock()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Stop cyclic garbage collection, for all threads, inside the `with` block.

    Nearly everything that a load makes, modules and a graph, stays alive, and a collection would scan it again and
    again. After the first load, which is mostly modules, `gc.freeze` and `gc.unfreeze` make these objects old, as if a
    collection had found them in use, unless the program itself has frozen objects. A child that forks in the middle
    resumes collection, because of the threads that pause it only this one is left.
    """
    try:  # The pause is inside, too: a signal handler may raise between any two lines.
        with _Collector.lock:
            if _Collector.pauses == 0:
                _Collector.was_on = gc.isenabled()
            _Collector.pauses += 1
            gc.disable()
        yield
    finally:
        with _Collector.lock:
            _Collector.pauses = max(0, _Collector.pauses - 1)
            if _Collector.pauses == 0 and _Collector.was_on:
                if _Collector.first and not gc.get_freeze_count():
                    gc.freeze()
                    gc.unfreeze()
                _Collector.first = False
                gc.enable()


def _resume_collector() -> None:
    if _Collector.pauses and _Collector.was_on:
        gc.enable()
    _Collector.pauses = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_resume_collector)


def demo_path() -> Path:
    """Return the path of a small model that comes with the package.

    The model reads characters of English text, and returns logits for the next character.
    """
    return Path(__file__).with_name("data") / "demo.safetensors"


def from_architecture(
    architecture: Architecture,
    weights: Mapping[str, Any],
    *,
    precision: Precision = "float32",
    threads: int = 1,
    spin_us: float = 0,
    plan_bytes: int = PLAN_BYTES,
    allow_unread: bool = False,
    open_states: bool = False,
) -> Model:
    """Build a network from a description of its layers and a state dict, ready to run.

    architecture: the description, as for `load`.
    weights: the result of `read_weights`, or any mapping from names to arrays. Arrays that the caller can still change
        are copied, so that training may go on in them.
    precision, threads, spin_us, plan_bytes, allow_unread, open_states: as for `load`.

        model = fastgru.from_architecture(
            {
                "inputs": {"x": ["T", "N", 40]},
                "layers": [
                    {"type": "GRU", "prefix": "encoder", "states": {"h0": "hn"}},
                    {"type": "Linear", "prefix": "head"},
                    "Sigmoid",
                ],
            },
            fastgru.read_weights("checkpoint.pt"),
        )

    Raises `UnsupportedModelError` for a type or an option that does not exist, and names those that do;
    `InvalidModelError` if the description contradicts itself or asks for tensors that are missing; `ShapeError`, which
    names the layer, the key, and both shapes; `UnreadTensorsError` for tensors that nothing reads.
    """
    _prepare("importers.architecture", "model")
    from fastgru.importers.architecture import build_architecture
    from fastgru.kernels.run import plain_mode
    from fastgru.model import Model

    with plain_mode():
        graph = build_architecture(architecture, weights, allow_unread=allow_unread)
        if open_states:
            graph = _opened(graph, "the description")
    return Model(graph, precision=precision, threads=threads, spin_us=spin_us, plan_bytes=plan_bytes)


def load_graph(source: Source, **options: Unpack[Reading]) -> Graph:
    """Read a model into a `Graph`, plain data that needs no kernel. The options and errors are those of `load`."""
    check_options(load_graph, options)
    _prepare("reference.facts")
    from fastgru.reference.facts import weights

    opening = options.pop("open_states", False)
    if not isinstance(opening, bool):
        raise UnsupportedModelError(f"open_states is {opening!r}, expected True or False")
    with opened(source) as content:
        graph = _read(content, options)
    for constant in graph.constants.values():
        frozen(constant)
    if (most := options.get("max_iterations")) is not None:
        graph = replace(graph, nodes=tuple(_bounded(node, most) for node in graph.nodes))
    for node in inlined(graph.nodes):
        for name in node.inputs if weights(node.op, node.attrs, len(node.inputs)) else ():
            array = graph.constants.get(name)
            if array is not None and not (array.dtype.kind in "iub" or np.isfinite(array).all()):
                bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise InvalidModelError(
                    f"{source_name(source)}: {node}: {bad} of the {array.size} values of {name!r} are NaN or infinite:"
                    " the file may be damaged"
                )
    return _opened(graph, source_name(source)) if opening else graph


def _opened(graph: Graph, what: str) -> Graph:
    _prepare("importers.opening")
    from fastgru.importers.opening import open_states

    return open_states(graph, what)


def _bounded(node: Node, most: int) -> Node:
    """Return the node with `most` as the limit of iterations of every loop in it."""
    bodies = {
        key: replace(body, nodes=tuple(_bounded(inner, most) for inner in body.nodes))
        for key, body in node.bodies.items()
    }
    return replace(node, attrs={**node.attrs, **bodies, **({"max_iterations": most} if node.op == "loop" else {})})


def options_for(kind: str, source: Source, options: Reading) -> dict[str, Any]:
    """Return the options that are given. Raises `UnsupportedModelError` for one that this format has no use for."""
    if options.get("fallback") not in (None, "reference"):
        raise UnsupportedModelError(f"fallback is {options['fallback']!r}, expected None or 'reference'")
    most = options.get("max_iterations")
    if most is not None and (type(most) is not int or most < 1):
        raise UnsupportedModelError(f"max_iterations is {most!r}, expected an integer of at least 1")
    given = {name: value for name, value in options.items() if value is not None}
    if named := [name for name in ("inputs", "outputs") if name in given]:
        _prepare("importers.part")
        from fastgru.importers.part import as_names

        given |= {name: as_names(name, given[name]) for name in named}
    for name, owners in _MEANT_FOR.items():
        alien = "architecture" in given and name not in ("architecture", "key", "inputs", "outputs", "custom_objects")
        if name in given and (kind not in owners or alien):
            raise UnsupportedModelError(
                f"{source_name(source)}: {name}= does not apply to this file ({kind}), only to {' and '.join(owners)}"
            )
    return given


def _read(source: Content, options: Reading) -> Graph:
    _prepare("importers.files")
    from fastgru.importers.files import detect_format

    kind = detect_format(source)
    _prepare(*_READERS.get(kind, ()))
    given = options_for(kind, source, options)
    if "architecture" in given:
        return _read_described(source, given.pop("architecture"), given)
    if kind == "onnx":
        from fastgru.importers.onnx import read_onnx

        given.pop("max_iterations", None)
        return read_onnx(source, **given)
    if kind in ("hdf5", "keras"):
        from fastgru.importers.keras import read_keras

        return read_keras(source, **given)
    if kind == "json":
        from fastgru.importers.rtneural import graph_from_rtneural, is_rtneural
        from fastgru.jsontext import load_json

        data = load_json(source)
        if is_rtneural(data):
            return graph_from_rtneural(data, name=source.name, **given)
        from fastgru.importers.keras import find_configuration

        if isinstance(data, dict) and find_configuration(data) is not None:
            raise UnsupportedModelError(
                f"{source_name(source)}: this is the architecture of a Keras model, without its weights: load the file"
                " that model.save_weights wrote, and pass this file as architecture="
            )
    if kind == "safetensors":
        from fastgru.graphfile import graph_from_tensor_file, is_graph_file
        from fastgru.tensorfile import read_tensor_file

        file = read_tensor_file(source)
        if is_graph_file(file):
            fallback, inputs, outputs = (given.pop(name, None) for name in ("fallback", "inputs", "outputs"))
            given.pop("max_iterations", None)
            graph = graph_from_tensor_file(file, name=source.name, **given)
            if inputs is not None or outputs is not None:
                from fastgru.importers.part import part_of

                graph = part_of(graph, inputs, outputs)
            return _permitted(graph, source, fallback)
        del file
    from fastgru.importers.weights import refuse_state_dict

    refuse_state_dict(source, given.get("key"))
    raise AssertionError(kind)


def _read_described(source: Content, architecture: Architecture, given: Mapping[str, Any]) -> Graph:
    """Read a file of weights alone with a description of the network."""
    from fastgru.importers.architecture import read_architecture
    from fastgru.importers.keras import find_configuration, read_keras

    configuration = find_configuration(architecture)
    if configuration is not None:
        return read_keras(source, configuration=configuration, **given)
    says = {"inputs": "names its inputs", "outputs": "names its outputs", "custom_objects": "says what its layers are"}
    if alien := [name for name in says if name in given]:
        raise UnsupportedModelError(
            f"{source_name(source)}: {alien[0]}= does not apply to a description of layers, which {says[alien[0]]}"
            " itself"
        )
    return read_architecture(source, architecture, **given)


def _prepare(*modules: str) -> None:
    """Import modules on demand, under the lock that a fork waits for: a child could not finish such an import."""
    with lock:
        for name in modules:
            importlib.import_module(f"fastgru.{name}")


def _permitted(graph: Graph, source: Source, fallback: str | None) -> Graph:
    """Return the graph of our own file. Raises `UnsupportedModelError` if it has fallback nodes without `fallback=`."""
    from fastgru.reference.foreign import describe_nodes

    foreign = describe_nodes(graph)
    if foreign and fallback is None:
        raise UnsupportedModelError(
            f"{source_name(source)}: not implemented: {', '.join(foreign[:20])}; the model was saved with"
            ' fallback="reference": load it with that, too'
        )
    return graph
