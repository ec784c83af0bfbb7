"""Files made by hand, byte by byte, so that they can be wrong in exactly one way."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

TORCH_LEGACY_HEAD = b"".join(
    pickle.dumps(value, 2)
    for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
)


def zip_of(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def torch_zip(pickled: bytes, storages: Mapping[str, bytes] | None = None, order: str | None = None) -> bytes:
    members = {"archive/data.pkl": pickled, "archive/version": b"3\n"}
    members |= {} if order is None else {"archive/byteorder": order.encode()}
    return zip_of(members | {f"archive/data/{key}": raw for key, raw in (storages or {}).items()})


def torch_legacy(pickled: bytes, storages: Mapping[str, tuple[int, bytes]] | None = None) -> bytes:
    storages = storages or {}
    tail = b"".join(struct.pack("<q", count) + raw for count, raw in storages.values())
    return TORCH_LEGACY_HEAD + pickled + pickle.dumps(list(storages), 2) + tail


def tensor_pickle(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    offset: int = 0,
    size: int = 24,
    storage: str = "FloatStorage",
    key: str = "0",
    name: str = "w",
) -> bytes:
    """{name: a tensor}, as torch pickles it."""

    def number(value: int) -> bytes:
        return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    ident = b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text("cpu") + number(size) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + ident + number(offset) + numbers(shape) + numbers(strides)
    return b"\x80\x02}" + text(name) + tensor + b"\x89" + hooks + b"tRs."


def read_bounded(path: Path, *, reader: str = "fastgru.importers.weights:read_weights") -> str:
    """What reading `path` ends in, in a process of its own: the name of the error's class and its message.

    The process is killed after 5 seconds of its CPU's time; its memory must stay below 1 GiB.
    """
    module, function = reader.split(":")
    code = (
        f"import sys\nsys.path.append({str(Path(__file__).parents[1])!r})\nfrom peak import peak_bytes\n"
        f"from {module} import {function} as read\nfrom fastgru.errors import FastGRUError\n"
        "try:\n    read(sys.argv[1])\n    print('no error')\n"
        "except FastGRUError as error:\n    print(type(error).__name__, str(error)[:2000])\n"
        "print(peak_bytes() // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (5, 6)),
        check=False,
    )
    assert done.returncode == 0, f"{path.name}: exit status {done.returncode}: {done.stderr[-2000:]}"
    *lines, peak_kib = done.stdout.rstrip().split("\n")
    assert int(peak_kib) < 1 << 20, f"{path.name}: {peak_kib} KiB"
    return "\n".join(lines)
