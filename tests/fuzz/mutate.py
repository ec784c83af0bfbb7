"""Ways to spoil a file: bits, lengths, truncations, splices; in the bytes, inside an archive, or in a text."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
from collections.abc import Callable

__all__ = ["mutate_bytes", "mutate_json", "mutate_safetensors", "mutate_zip"]

ODD_TOKENS = [
    "null", "true", "-1", "0", "1e400", "-0.0", "NaN", "Infinity", "99999999999999999999", "0.5", '""', '"x"', "[]",
    "{}", "[[]]", "[null]", '{"a":1}', "", "]", "}", ",", ":", "\\", "\x00",
]  # fmt: skip

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[\[\]{}:,]')


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to eight changes; half of them near the ends, where headers and directories are."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            break
        rng.choice(CHANGES)(data, _place(data, rng), rng)
    return bytes(data)


def mutate_zip(content: bytes, rng: random.Random, inner: Callable[[str, bytes, random.Random], bytes]) -> bytes:
    """Spoil one member and zip it again with a right checksum; or rename, drop, deflate or repeat one; or the bytes."""
    if rng.random() < 0.35:
        return mutate_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    method = zipfile.ZIP_STORED
    kind = rng.random()
    if kind < 0.8:
        members[name] = inner(name, members[name], rng)
    elif kind < 0.86:
        del members[name]
    elif kind < 0.92:
        new = mutate_bytes(name.encode(), rng).decode("latin-1").replace("\0", "_")
        members[new or "_"] = members.pop(name)
    elif kind < 0.96:
        members[name] = members[rng.choice(list(members))]
    else:
        method = zipfile.ZIP_DEFLATED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return buffer.getvalue()


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """Change, drop, repeat, wrap or exchange tokens, so that most results still parse; or spoil the bytes."""
    if rng.random() < 0.2:
        return mutate_bytes(content, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        spans = [match.span() for match in TOKEN.finditer(content)]
        if not spans:
            break
        (start, stop), (other, end) = rng.choice(spans), rng.choice(spans)
        token = content[start:stop]
        new = rng.choice(
            (
                rng.choice(ODD_TOKENS).encode(),
                rng.choice(ODD_TOKENS).encode(),
                content[other:end],
                b"",
                token + b"," + token,
                b"[" + token + b"]",
                mutate_bytes(token, rng),
                str(rng.choice((-1, 0, 1, 2, 3, 7, 2**31, 2**53, 2**63, 2**64))).encode(),
            )
        )
        content = content[:start] + new + content[stop:]
    return content


def mutate_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Spoil the header and write its new length before it; or spoil the bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(content, rng)
    (size,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + size].rstrip()
    if rng.random() < 0.3:  # inside a text of the metadata, where quotes are escaped
        header = mutate_json(header.replace(rb"\"", b"\x01"), rng).replace(b"\x01", rb"\"")
    else:
        header = mutate_json(header, rng)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def _place(data: bytearray, rng: random.Random) -> int:
    reach = min(len(data), rng.choice((16, 256, 2048, len(data))))
    return rng.randrange(reach) if rng.random() < 0.7 else len(data) - 1 - rng.randrange(reach)


def _flip(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _length(data: bytearray, at: int, rng: random.Random) -> None:
    width = rng.choice((1, 2, 4, 8))
    top = 1 << (8 * width)
    value = rng.choice((0, 1, top - 1, top // 2, top // 2 - 1, len(data), len(data) - at, rng.randrange(top))) % top
    data[at : at + width] = value.to_bytes(width, rng.choice(("little", "little", "big")))


def _nudge(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] = (data[at] + rng.choice((-2, -1, 1, 2, 16))) % 256


def _copy(data: bytearray, at: int, rng: random.Random) -> None:
    start, size = rng.randrange(len(data)), rng.randrange(1, 65)
    piece = data[start : start + size]
    data[at : at + len(piece)] = piece


def _insert(data: bytearray, at: int, rng: random.Random) -> None:
    start, size = rng.randrange(len(data)), rng.randrange(1, 65)
    data[at:at] = data[start : start + size] if rng.random() < 0.5 else rng.randbytes(size)


def _delete(data: bytearray, at: int, rng: random.Random) -> None:
    del data[at : at + rng.choice((1, 2, 4, 8, 64))]


def _truncate(data: bytearray, at: int, rng: random.Random) -> None:
    del data[at:]


CHANGES = (_flip, _flip, _byte, _length, _length, _nudge, _copy, _insert, _delete, _truncate)
