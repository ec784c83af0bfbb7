"""Golden models and files for tools/digests, and models that others trained, if they are available."""

import io
import itertools
import json
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from g2p import load as load_g2p
from g2p import phonemes

import fastgru

if TYPE_CHECKING:
    from digest_worker import Teller

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = ROOT / "tests" / "data"
SHARED: Final = ROOT.parent / "shared" / "models"

Arrays = dict[str, np.ndarray]


def under(arrays: Any, start: str) -> Arrays:
    """Return the arrays whose names begin with `start`, by the rest of their names."""
    return {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}


def models(teller: "Teller") -> None:
    """Run the golden models on their stored inputs, and models that others trained, if they are available."""
    for folder, start in (("networks", ".in."), ("onnx", ".in."), ("onnx_tensorflow", ".")):
        golden = dict(np.load(DATA / folder / "golden.npz"))
        for path in sorted((DATA / folder).glob("*.onnx")):
            given = under(golden, path.stem.split("_")[0] + start)
            given.pop("y", None)
            teller.tell_model(f"{folder}/{path.stem}", partial(fastgru.load, path), given)
    rng = np.random.default_rng(0)
    for path in sorted((DATA / "onnx_loops").glob("*.onnx")):
        shapes = [s.shape for s in fastgru.load_graph(path).inputs]
        given = {f"{i}": rng.standard_normal([n or 3 for n in shape or ()]) for i, shape in enumerate(shapes)}
        teller.tell_model(f"onnx_loops/{path.stem}", partial(fastgru.load, path), given)
    for path in sorted(DATA.glob("*/*.zip")):
        archive = zipfile.ZipFile(path)
        for member in archive.namelist():
            if member.endswith((".h5", ".keras", ".onnx")):
                golden = dict(np.load(io.BytesIO(archive.read(member.rsplit(".", 1)[0] + ".npz"))))
                given = {name.split(":")[0]: array for name, array in under(golden, "in:").items()}
                load = partial(fastgru.load, archive.read(member))
                teller.tell_model(f"{path.parent.name}/{path.stem}/{member}", load, given)
    package = Path(fastgru.__file__).parent
    for path in sorted((package / "data").glob("*.safetensors")):
        expected = np.load(path.with_name(f"{path.stem}_expected.npz"))
        teller.tell_model(path.stem, partial(fastgru.load, path), {"tokens": expected["tokens"]})
    if SHARED.is_dir():
        shared_models(teller)


def shared_models(teller: "Teller") -> None:
    mix = np.load(SHARED / "gtcrn" / "golden.npz")["mix"].reshape(-1, 1, 257, 1, 2)
    for path in sorted((SHARED / "gtcrn").glob("*.onnx")):
        teller.tell_model(f"gtcrn/{path.stem}", partial(fastgru.load, path), {"mix": mix[7]})
        teller.tell(
            f"gtcrn/{path.stem}: frames",
            lambda path=path: list(map(fastgru.load(path).stream().push, mix)),
        )
    given = {"x": np.load(SHARED / "rnnoise" / "golden.npz")["x"]}
    teller.tell_model("rnnoise", partial(fastgru.load, SHARED / "rnnoise" / "bd.hdf5"), given)
    for path in sorted((SHARED / "rtneural").glob("*.json")):
        x = np.loadtxt(path.with_name(f"{path.stem}_x_python.csv")).reshape(1, -1, 1)
        teller.tell_model(f"rtneural/{path.stem}", partial(fastgru.load, path), {"x": x})
    checkpoint = SHARED / "g2p" / "checkpoint20.npz"
    for precision, threads in itertools.product(teller.precisions, teller.threads):
        name = f"g2p {precision} x{threads}"
        network = teller.tell(name, partial(load_g2p, checkpoint, precision=precision, threads=threads), loads=True)
        for word in ("antidisestablishmentarianism", "hello", "a"):
            teller.tell(f"{name}: {word}", lambda network=network, word=word: phonemes(network, word))


def files(teller: "Teller") -> None:
    """Read files of weights alone, and build layers and networks from them."""
    formats = {".pt", ".pth", ".tar", ".npz", ".safetensors", ".hdf5"}
    for path in sorted(p for folder in (DATA, SHARED) for p in folder.rglob("*") if p.suffix in formats):
        teller.tell(f"{path.parent.name}/{path.name}", lambda path=path: dict(fastgru.read_weights(path)))
    torch = dict(np.load(DATA / "torch" / "golden.npz"))
    for path in sorted((DATA / "torch").glob("*.pt")):
        x, h0, lengths = (torch[f"{path.stem}/{name}"] for name in ("x", "h0", "lengths"))
        for precision in teller.precisions:
            teller.tell(
                f"torch/{path.stem} {precision}",
                lambda path=path, precision=precision, given=(x, h0, lengths): fastgru.GRU.from_torch(
                    fastgru.read_weights(path), prefix="gru", precision=precision
                )(*given),
            )
    layers = json.loads((DATA / "architecture" / "layers.json").read_text(encoding="utf-8"))
    arrays = dict(fastgru.read_weights(DATA / "architecture" / "layers.safetensors"))
    for case, description in layers.items():
        load = partial(fastgru.from_architecture, description, under(arrays, f"{case}/state/"))
        teller.tell_model(f"architecture/{case}", load, under(arrays, f"{case}/x/"))
    networks = dict(np.load(DATA / "architecture" / "networks.npz"))
    for path in sorted((DATA / "architecture").glob("*.yaml")):
        load = partial(fastgru.load, path.with_suffix(".pt"), architecture=path)
        teller.tell_model(f"architecture/{path.stem}", load, under(networks, f"{path.stem}/x/"))
