"""What the head of object code says: of ELF and Mach-O, as far as a linker must know it."""

from __future__ import annotations

import struct
from typing import NamedTuple

# e_machine of ELF, cputype of Mach-O.
_ELF = {62: "x86-64", 183: "aarch64"}
_MACH = {0x01000007: "x86-64", 0x0100000C: "aarch64"}
_COFF = {0x8664: "x86-64", 0xAA64: "aarch64"}
_MACH_SECTIONS = 0x19  # LC_SEGMENT_64


class Object(NamedTuple):
    """form: elf, macho or coff. sections: their names, with what each is aligned to, in bytes."""

    form: str
    machine: str
    sections: dict[str, int]


def examine(code: bytes) -> Object:
    """Of a relocatable object of 64 bits, little end first; ValueError where it is none."""
    if code[:4] == b"\x7fELF":
        return _elf(code)
    if code[:4] == b"\xcf\xfa\xed\xfe":  # the magic of 64 bits, little end first
        return _macho(code)
    machine, count = struct.unpack_from("<HH", code)
    if machine in _COFF:
        return Object("coff", _COFF[machine], _coff_sections(code, count))
    raise ValueError(f"neither ELF nor Mach-O nor COFF: {code[:16]!r}")


def _elf(code: bytes) -> Object:
    bits, end, _, abi = code[4:8]
    if (bits, end, abi) != (2, 1, 0):
        raise ValueError(f"ELF of class {bits}, byte order {end}, ABI {abi}")
    kind, machine, _, _, _, at, _, _, _, _, size, count, names = struct.unpack_from("<HHIQQQIHHHHHH", code, 16)
    if kind != 1:
        raise ValueError(f"ELF of type {kind}, expected a relocatable object")
    heads = [struct.unpack_from("<IIQQQQIIQQ", code, at + i * size) for i in range(count)]
    texts = code[heads[names][4] : heads[names][4] + heads[names][5]]
    found = {}
    for name, _, _, _, start, nbytes, _, _, align, _ in heads[1:]:
        found[texts[name : texts.index(b"\0", name)].decode()] = align
        if nbytes and align > 1 and start % align:
            raise ValueError(f"a section at {start} that has to lie at a multiple of {align}")
    return Object("elf", _ELF[machine], found)


def _macho(code: bytes) -> Object:
    _, machine, _, kind, count, _, _, _ = struct.unpack_from("<8I", code)
    if kind != 1:
        raise ValueError(f"Mach-O of type {kind}, expected a relocatable object")
    at, found = 32, {}
    for _ in range(count):
        command, size = struct.unpack_from("<II", code, at)
        if command == _MACH_SECTIONS:
            (sections,) = struct.unpack_from("<I", code, at + 64)
            for i in range(sections):
                name, _, _, _, _, align = struct.unpack_from("<16s16sQQII", code, at + 72 + 80 * i)
                found[name.rstrip(b"\0").decode()] = 1 << align
        at += size
    return Object("macho", _MACH[machine], found)


def _coff_sections(code: bytes, count: int) -> dict[str, int]:
    found = {}
    for i in range(count):
        name, *_, flags = struct.unpack_from("<8s6IHHI", code, 20 + 40 * i)
        found[name.rstrip(b"\0").decode()] = 1 << max(0, (flags >> 20 & 15) - 1)
    return found
