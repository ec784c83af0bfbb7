"""Devices and their memory: there is one CPU, and every array is in the memory of this process.

Programs make these objects to pass them to calls that ask for a device. Objects for other devices can be made, as in an
onnxruntime that was built for CPUs. A call that would have to use such a device refuses it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field, fields
from functools import partial
from typing import Any, ClassVar, Final

from fastgru.compat.onnxruntime.errors import NoDevice, RuntimeException
from fastgru.records import dataclass

__all__ = [
    "ArenaExtendStrategy",
    "Choice",
    "OrtAllocatorType",
    "OrtArenaCfg",
    "OrtDevice",
    "OrtDeviceMemoryType",
    "OrtDeviceVendorId",
    "OrtEpDevice",
    "OrtHardwareDevice",
    "OrtHardwareDeviceType",
    "OrtMemType",
    "OrtMemoryInfo",
    "OrtMemoryInfoDeviceType",
    "check_device",
    "get_ep_devices",
    "get_hardware_devices",
    "get_ort_device_type",
    "get_vendor_id_for_device_type",
]


class Choice(enum.IntEnum):
    """A number with a name, printed as in onnxruntime."""

    __str__ = enum.Enum.__str__


class OrtDeviceVendorId(Choice):
    """The vendor numbers of the PCI bus."""

    NONE = 0
    AMD = 0x1002
    NVIDIA = 0x10DE
    ARM = 0x13B5
    MICROSOFT = 0x1414
    HUAWEI = 0x19E5
    QUALCOMM = 0x5143
    INTEL = 0x8086


class OrtAllocatorType(Choice):
    """How memory is allocated. It has no effect."""

    INVALID = -1
    ORT_DEVICE_ALLOCATOR = 0
    ORT_ARENA_ALLOCATOR = 1


class OrtMemType(Choice):
    """The use of memory. It has no effect."""

    CPU_INPUT = -2
    CPU_OUTPUT = -1
    CPU = -1
    DEFAULT = 0


class OrtDeviceMemoryType(Choice):
    """Whether the host can reach the memory of a device."""

    DEFAULT = 0
    HOST_ACCESSIBLE = 5


class OrtMemoryInfoDeviceType(Choice):
    """The numbers of the kinds of devices in `OrtMemoryInfo`."""

    CPU = 0
    GPU = 1
    FPGA = 2
    NPU = 3


class OrtHardwareDeviceType(Choice):
    """The numbers of the kinds of devices in execution providers."""

    CPU = 0
    GPU = 1
    NPU = 2


class ArenaExtendStrategy(Choice):
    """How an arena grows. It has no effect."""

    kNextPowerOfTwo = 0
    kSameAsRequested = 1


# For each name of a device: its kind, and the vendor that onnxruntime assumes.
_KINDS: Final = {
    "cpu": (OrtMemoryInfoDeviceType.CPU, OrtDeviceVendorId.NONE),
    "cuda": (OrtMemoryInfoDeviceType.GPU, OrtDeviceVendorId.NVIDIA),
    "gpu": (OrtMemoryInfoDeviceType.GPU, OrtDeviceVendorId.NONE),
    "dml": (OrtMemoryInfoDeviceType.GPU, OrtDeviceVendorId.MICROSOFT),
    "webgpu": (OrtMemoryInfoDeviceType.GPU, OrtDeviceVendorId.NONE),
    "cann": (OrtMemoryInfoDeviceType.NPU, OrtDeviceVendorId.HUAWEI),
    "npu": (OrtMemoryInfoDeviceType.NPU, OrtDeviceVendorId.NONE),
}


def get_ort_device_type(device_type: str) -> int:
    """Return the number of the kind of a device: 0 for "cpu"."""
    if device_type not in _KINDS:
        raise RuntimeException(f"Unsupported device type: {device_type}; expected one of {', '.join(_KINDS)}")
    return int(_KINDS[device_type][0])


def get_vendor_id_for_device_type(device_type: str) -> OrtDeviceVendorId | None:
    """Return the vendor that the name of a device implies, or None."""
    return _KINDS[device_type][1] if device_type in ("cuda", "dml", "cann", "webgpu") else None


class OrtDevice:
    """A device by kind, number and vendor. Only `make("cpu", 0)` exists here."""

    def __init__(self, kind: int, device_id: int = 0, vendor_id: int = 0) -> None:
        self._kind, self._id, self._vendor = kind, device_id, vendor_id

    @classmethod
    def make(cls, ort_device_name: str, device_id: int, vendor_id: int = -1) -> OrtDevice:
        """Make a device by name: "cpu", "cuda", "gpu", "npu"... vendor_id: -1 for the vendor that the name implies."""
        known = get_vendor_id_for_device_type(ort_device_name)
        vendor = (known or OrtDeviceVendorId.NONE) if vendor_id == -1 else vendor_id
        return cls(get_ort_device_type(ort_device_name), int(device_id), int(vendor))

    def device_id(self) -> int:
        return self._id

    def device_type(self) -> int:
        return self._kind

    def device_vendor_id(self) -> int:
        return self._vendor

    vendor_id = device_vendor_id

    def device_mem_type(self) -> int:
        return int(OrtDeviceMemoryType.DEFAULT)

    mem_type = device_mem_type

    # The numbers of the kinds of devices.
    cpu, cuda, gpu, dml, webgpu, cann, npu = (
        staticmethod(partial(get_ort_device_type, name))
        for name in ("cpu", "cuda", "gpu", "dml", "webgpu", "cann", "npu")
    )

    @staticmethod
    def fpga() -> int:
        return int(OrtMemoryInfoDeviceType.FPGA)

    @staticmethod
    def default_memory() -> int:
        return int(OrtDeviceMemoryType.DEFAULT)


def check_device(device_type: str | OrtDevice, device_id: int = 0) -> None:
    """Raise `NoDevice` for every device but CPU 0."""
    if isinstance(device_type, OrtDevice):
        kind, number = device_type.device_type(), device_type.device_id()
    else:
        kind, number = get_ort_device_type(str(device_type).lower()), int(device_id)
    if (kind, number) != (OrtMemoryInfoDeviceType.CPU, 0):
        name = device_type if isinstance(device_type, str) else OrtMemoryInfoDeviceType(kind).name.lower()
        raise NoDevice(f"device {name!r} {number} does not exist here; the only device is 'cpu' 0")


@dataclass(frozen=True)
class OrtMemoryInfo:
    """A place of memory, in onnxruntime's terms."""

    name: str
    allocator_type: OrtAllocatorType
    device_id: int
    mem_type: OrtMemType
    device_mem_type: OrtDeviceMemoryType = OrtDeviceMemoryType.DEFAULT
    device_vendor_id: int = 0

    @classmethod
    def create_v2(
        cls,
        name: str,
        device_type: OrtMemoryInfoDeviceType,
        vendor_id: int,
        device_id: int,
        device_mem_type: OrtDeviceMemoryType,
        alignment: int,
        allocator_type: OrtAllocatorType,
    ) -> OrtMemoryInfo:
        """Make it by the kind of the device. alignment: that of an allocation in bytes; here it is always 64."""
        OrtMemoryInfoDeviceType(device_type)
        if int(alignment) < 0:
            raise RuntimeException(f"alignment is {alignment}, expected a number of bytes")
        return cls(name, allocator_type, int(device_id), OrtMemType.DEFAULT, device_mem_type, int(vendor_id))


@dataclass(init=False)
class OrtArenaCfg:
    """The settings of an arena. They are kept without effect, because there is no arena here."""

    max_mem: int = 0
    arena_extend_strategy: int = -1
    initial_chunk_size_bytes: int = -1
    max_dead_bytes_per_chunk: int = -1
    initial_growth_chunk_size_bytes: int = -1
    max_power_of_two_extend_bytes: int = -1

    _given: ClassVar = 4  # how many of the numbers can be passed by position

    def __init__(self, *given: Any) -> None:
        names = [entry.name for entry in fields(self)]
        if len(given) == 1 and isinstance(given[0], Mapping):
            values = dict(given[0])
        elif len(given) == self._given:
            values = dict(zip(names, given, strict=False))
        else:
            raise TypeError(f"OrtArenaCfg expects a dict, or {', '.join(names[: self._given])}")
        if unknown := sorted(map(repr, set(values) - set(names))):
            raise RuntimeException(f"Invalid OrtArenaCfg option: {', '.join(unknown)}")
        for name, value in values.items():
            setattr(self, name, int(value))


@dataclass(frozen=True)
class OrtHardwareDevice:
    """A device of this machine."""

    type: OrtHardwareDeviceType = OrtHardwareDeviceType.CPU
    vendor_id: int = 0
    vendor: str = ""
    device_id: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OrtEpDevice:
    """A device with its execution provider."""

    ep_name: str = "CPUExecutionProvider"
    ep_vendor: str = "fastgru"
    ep_metadata: Mapping[str, str] = field(default_factory=dict)
    ep_options: Mapping[str, str] = field(default_factory=dict)
    device: OrtHardwareDevice = field(default_factory=OrtHardwareDevice)

    def memory_info(self, memory_type: OrtDeviceMemoryType = OrtDeviceMemoryType.DEFAULT) -> OrtMemoryInfo:
        """Return the place of its memory."""
        return OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT, memory_type)


def get_ep_devices() -> list[OrtEpDevice]:
    """Return the CPU."""
    return [OrtEpDevice()]


def get_hardware_devices() -> list[OrtHardwareDevice]:
    """Return the CPU."""
    return [OrtHardwareDevice()]
