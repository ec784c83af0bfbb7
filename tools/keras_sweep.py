"""Compares this package with Keras, over layers, forms of calls and containers: equal, refused by name, or wrong.

    python tools/keras_sweep.py files           # forms in a .keras, in a .h5, as weights alone; layers in a Sequential
    python tools/keras_sweep.py pairs           # each form of PAIRED after each other one
    python tools/keras_sweep.py pairs NAME...   # after these only
    python tools/keras_sweep.py table           # the pairs after STORED, into tests/data/keras/masks-<major>.zip

It needs Keras 2 or 3. `KERAS_BACKEND` chooses Keras 3's backend. The exit status is 1 if a number is wrong.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from keras_forms import FORMS, LAYERS, PAIRED, SINKS, STORED, make_inputs, make_tensors

import fastgru
from fastgru.errors import UnsupportedModelError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
keras: Any = importlib.import_module("keras")
L: Any = keras.layers
HERE = Path(__file__).resolve().parent.parent / "tests" / "data" / "keras"
INPUTS = make_inputs()
Outcome = tuple[str, str, str]  # what was tried, the result, and the reason


def plain_loops() -> None:
    """Make Keras 2 build its GRU and LSTM without the branch for GPUs, which takes most of the time."""
    for layer in (L.GRU, L.LSTM) if keras.__version__ < "3" else ():

        def initialise(self: Any, *args: Any, first: Any = layer.__init__, **keys: Any) -> None:
            first(self, *args, **keys)
            self._could_use_gpu_kernel = False

        layer.__init__ = initialise


def filled(model: Any) -> Any:
    """Give `model` weights of few bits that no initialiser would make."""
    rng = np.random.default_rng(5)
    model.set_weights([
        (np.abs(rng.integers(2, 7, a.shape)) / 8 if a.ndim == 1 else rng.integers(-6, 7, a.shape) / 8).astype(a.dtype)
        for a in model.get_weights()
    ])  # fmt: skip
    return model


def built(first: str, names: Sequence[str], sinks: Sequence[str]) -> tuple[list[str], Any]:
    """Return a model of all forms that Keras accepts, each after `first`, and the names of its outputs."""
    tensors = make_tensors(keras)
    start, made = tensors.m, []
    with contextlib.suppress(AttributeError, ValueError):  # this version lacks it
        start = FORMS[first](L, start, tensors) if first else start
        first = ""
    for name in () if first else names:
        try:
            y = FORMS[name](L, start, tensors)
            made += [(f"{name} > {sink}", SINKS[sink](L, y)) for sink in sinks if len(y.shape) == 3 or sink == "itself"]
        except Exception:  # this version lacks it, or it does not accept this input
            continue
    if not made:
        return [], None
    return [name for name, _ in made], filled(keras.Model(list(tensors.inputs.values()), [y for _, y in made]))


def outputs_of(model: Any, inputs: Any) -> list[np.ndarray]:
    made = model(inputs, training=False)
    return [np.asarray(y) for y in (made if isinstance(made, list | tuple) else [made])]


def compared(label: str, names: Sequence[str], want: Sequence[np.ndarray], read: Any) -> Iterator[Outcome]:
    """Yield the outcome of each output of a model. read: loads the model with this package."""
    try:
        model = read()
    except UnsupportedModelError as error:
        for name in names:
            yield f"{label}: {name}", "refused", str(error)
        return
    except Exception as error:  # an error, because a file that Keras reads is not damaged
        for name in names:
            yield f"{label}: {name}", "wrong", repr(error)
        return
    made = model.run({spec.name: INPUTS[spec.name].astype(spec.dtype) for spec in model.inputs})
    for name, y, expected in zip(names, made.values(), want, strict=True):
        right = y.shape == expected.shape and np.allclose(
            y, expected, rtol=0, atol=1e-5 * max(1.0, float(np.nanmax(np.abs(expected), initial=0))), equal_nan=True
        )
        yield f"{label}: {name}", "equal" if right else "wrong", ""


def split(first: str, names: Sequence[str], sinks: Sequence[str], folder: Path) -> Iterator[Outcome]:
    """Run all forms in one model if Keras runs it and this package reads it, otherwise in halves."""
    keras.backend.clear_session()
    labels, model = built(first, names, sinks)
    if model is None:
        return
    path = folder / "model.keras"
    try:
        model.save(path)
        want = outputs_of(model, list(INPUTS.values()))
    except Exception:  # Keras itself does not run with this mask
        want = []
    found = list(compared(first or "x", labels, want, lambda: fastgru.load(path))) if want else []
    if len(names) > 1 and (not want or found[0][1] == "refused"):
        half = len(names) // 2
        yield from split(first, names[:half], sinks, folder)
        yield from split(first, names[half:], sinks, folder)
    else:
        yield from found


def saved(label: str, model: Any, folder: Path) -> Iterator[Outcome]:
    """Compare one model in each container with what Keras returns after it has loaded the file."""
    want = outputs_of(model, [INPUTS[t.name.split(":")[0]] for t in model.inputs])
    newer = keras.__version__ >= "3"
    text = {**json.loads(model.to_json()), "keras_version": keras.__version__}
    for kind in ("model.keras", "model.h5", "only.weights.h5", *(() if newer else ("only.h5",))):
        path = folder / kind
        options = {}
        if kind.startswith("only"):
            model.save_weights(path)
            options["architecture"] = text
        else:
            model.save(path)
            want = outputs_of(keras.models.load_model(path), [INPUTS[t.name.split(":")[0]] for t in model.inputs])
        yield from compared(f"{kind} {label}", ["output"], want, lambda p=path, o=options: fastgru.load(p, **o))


def files(folder: Path) -> Iterator[Outcome]:
    for name in (name for name in PAIRED if name in FORMS):
        keras.backend.clear_session()
        try:
            labels, model = built("", [name], ["itself"])
            yield from saved(f"functional {name}", model, folder) if labels else ()
        except Exception:  # Keras does not run it
            continue
    for name, make in LAYERS.items():
        keras.backend.clear_session()
        try:
            chain = [keras.Input((6, 4), name="x"), L.Masking(-1.0), make(L), L.Dense(3)]
            yield from saved(f"sequential {name}", filled(keras.Sequential(chain)), folder)
        except Exception:  # Keras does not have it
            continue


def table(folder: Path) -> None:
    """Write pairs as files, with Keras's results, without pairs that are refused."""
    kind = keras.__version__.split(".")[0]
    with zipfile.ZipFile(HERE / f"masks-{kind}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:

        def put(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 9)

        def arrays(**values: np.ndarray) -> bytes:
            buffer = BytesIO()
            np.savez(buffer, **values)
            return buffer.getvalue()

        put("inputs.npz", arrays(**INPUTS))
        for n, first in enumerate(name for name in STORED if name in FORMS):
            ends = {what.split(": ")[1].split(" > ")[0]: how for what, how, _ in split(first, PAIRED, ["mean"], folder)}
            read = [name for name, how in ends.items() if how != "refused"]
            keras.backend.clear_session()
            labels, model = built(first, read, ["mean"])
            if model is None:
                continue
            path = folder / "model.keras"
            model.save(path)
            put(f"{n}.keras", path.read_bytes())
            put(f"{n}.json", json.dumps([first, labels]).encode())
            put(f"{n}.npz", arrays(**{f"out{i}": y for i, y in enumerate(outputs_of(model, list(INPUTS.values())))}))


def main() -> int:
    mode, *names = sys.argv[1:]
    plain_loops()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if mode == "table":
            table(folder)
            return 0
        firsts = [first for first in names or PAIRED if first in FORMS]
        seconds = [name for name in PAIRED if name in FORMS]
        pairs = (one for first in firsts for one in split(first, seconds, ["itself", "mean"], folder))
        for what, how, why in files(folder) if mode == "files" else pairs:
            counts[how] += 1
            if how != "equal":
                print(f"{how}: {what}: {why}", flush=True)
    print(f"Keras {keras.__version__}, {mode}: {dict(counts)}")
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
