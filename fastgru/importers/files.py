"""Detects the format of a file from its bytes, because suffixes are unreliable (most `.tar` files are zip archives).

detect_format("model.bin")               # "onnx", "torch-zip", ...: one of FORMATS
"""

import re
from collections.abc import Mapping
from typing import Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.modules import importing
from fastgru.sources import Content, Source, opened

__all__ = ["FORMATS", "detect_format"]

FORMATS: Final[Mapping[str, str]] = {
    "hdf5": "an HDF5 file (.h5, .hdf5)",
    "json": "a JSON text",
    "keras": "a Keras archive (.keras)",
    "npz": "a NumPy archive (.npz)",
    "onnx": "an ONNX model",
    "safetensors": "a safetensors file",
    "torch-legacy": "a PyTorch checkpoint of the form before 1.6",
    "torch-zip": "a PyTorch checkpoint",
}

_HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_TORCH_LEGACY_MAGIC: Final = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # 0x1950a86a20f9469cfc6c, little-endian

# Formats that are recognised but not read: (offset, magic, what it is, the way round).
_FOREIGN: Final = (
    (0, b"\x93NUMPY", "a single NumPy array (.npy)", "save the arrays by name with numpy.savez"),
    (0, b"\x1f\x8b", "a gzip file", "decompress it first"),
    (0, b"BZh", "a bzip2 file", "decompress it first"),
    (0, b"\xfd7zXZ\x00", "an xz file", "decompress it first"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "decompress it first"),
    (4, b"TFL3", "a TensorFlow Lite model", "export the model it came from to ONNX or .keras"),
    (4, b"ORTM", "an ONNX Runtime (.ort) model", "use the .onnx file it was made from"),
    (0, b"GGUF", "a GGUF file", "save the weights as safetensors"),
    (0, b"<?xml", "an XML file (OpenVINO?)", "use the model it was converted from"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run 'git lfs pull'"),
    (257, b"ustar", "a tar archive", "unpack it; a checkpoint of PyTorch before 0.1.10 has to be saved again"),
)

# The first bytes of pickles of protocols 0 and 1, which have no magic number: a container, or the name of a class.
_OLD_PICKLE: Final = re.compile(rb"\([dl](p\d+)?\n|\(i[\w.]+\n\w+\n|[}\])]q.|c[\w.]+\n\w+\n")

# Suffixes of model files inside archives, such as those of stable-baselines3.
_MODEL_ENDINGS: Final = (
    ".bin", ".ckpt", ".h5", ".hdf5", ".keras", ".onnx", ".pb", ".pt", ".pth", ".safetensors", ".tar", ".zip",
)  # fmt: skip

# Fields of onnx.ModelProto: number -> wire type (0 varint, 2 length-delimited).
_ONNX_FIELDS: Final = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}


def detect_format(source: Source) -> str:
    """Return which of `FORMATS` the content of `source` has.

    Raises `UnsupportedModelError`, with the way round, for a known format that is not read, and `InvalidModelError`
    for an empty file, a damaged archive, or an unknown format.
    """
    with opened(source) as content:
        return _detect(content)


def _detect(data: Content) -> str:
    name, head = data.name, bytes(data[:512])
    if head.startswith(_HDF5_MAGIC) or _has_user_block(data):
        return "hdf5"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _detect_zip(data)
    for offset, magic, what, way in _FOREIGN:
        if head[offset:].startswith(magic):
            raise UnsupportedModelError(f"{name}: this is {what}, which is not read: {way}")
    if head[:1] == b"\x80" and _TORCH_LEGACY_MAGIC in head[:40]:
        return "torch-legacy"
    if (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05") or _OLD_PICKLE.match(head):
        raise UnsupportedModelError(
            f"{name}: this is a plain Python pickle, which may run code and is not read: save the weights with"
            " torch.save(model.state_dict(), path), numpy.savez or safetensors"
        )
    if len(data) > 8 and int.from_bytes(data[:8], "little") <= len(data) - 8 and head[8:9] == b"{":
        return "safetensors"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "json"
    if _looks_like_onnx(data):
        return "onnx"
    known = "; ".join(FORMATS[key] for key in sorted(FORMATS))
    raise InvalidModelError(f"{name}: the file starts with {head[:8]!r}, which is none of the known formats ({known})")


def _has_user_block(data: Content) -> bool:
    starts = (512 << n for n in range(len(data).bit_length()))  # where an HDF5 superblock may be besides 0
    return any(bytes(data[start : start + 8]) == _HDF5_MAGIC for start in starts)


def _detect_zip(content: Content) -> str:
    with importing:
        from fastgru.importers.archive import Archive

    members, name = list(Archive(content)), content.name
    stems = {member.rsplit("/", 1)[-1] for member in members}
    if "data.pkl" in stems:
        if "constants.pkl" in stems or any("/code/" in member for member in members):
            raise UnsupportedModelError(
                f"{name}: this is a TorchScript archive, which holds code: save the weights with"
                " torch.save(torch.jit.load(path).state_dict(), other_path), or export to ONNX"
            )
        return "torch-zip"
    if stems & {"archive_format", "serialized_exported_program.json"}:
        raise UnsupportedModelError(
            f"{name}: this is a program of torch.export (.pt2), which is not read: export it with torch.onnx.export, or"
            " save its weights with torch.save(torch.export.load(path).state_dict, other_path)"
        )
    if "config.json" in members or "model.weights.h5" in members or {"config.json", "model.weights.h5"} <= stems:
        return "keras"
    if members and all(member.endswith(".npy") for member in members):
        return "npz"
    if inside := [member for member in members if member.lower().endswith(_MODEL_ENDINGS)]:
        raise UnsupportedModelError(
            f"{name}: this is a zip archive with {', '.join(repr(member[:60]) for member in inside[:5])}: unpack it,"
            " and read the file with the weights"
        )
    shown = ", ".join(repr(member[:40]) for member in members[:5]) or "nothing"
    raise InvalidModelError(
        f"{name}: the zip archive contains {shown}; expected a PyTorch checkpoint, a .keras or a .npz file"
    )


def _looks_like_onnx(data: Content) -> bool:
    """Return whether `data` starts with an `ir_version`, or consists of ModelProto's fields with a graph among them."""
    head = data[:3]
    if head[0] == 0x08 and len(head) > 2 and 0 < head[1] < 0x80:
        return True
    position, seen = 0, set()
    for _ in range(10_000):
        if position == len(data):
            return 7 in seen
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if _ONNX_FIELDS.get(number) != wire:
            return False
        seen.add(number)
        length, position = _varint(data, position)
        position += length if wire == 2 else 0
        if position > len(data):
            return False
    return False


def _varint(data: Content, position: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    return 0, len(data) + 1
