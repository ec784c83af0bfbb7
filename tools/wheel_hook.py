"""Hatchling's hook for wheels: a wheel is for a platform if `tools/build_wheels` asks for it, otherwise pure Python.

FASTGRU_WHEEL_PLATFORM   the platform's tag, such as manylinux_2_17_x86_64
FASTGRU_WHEEL_KERNELS    the folder that becomes `fastgru/prebuilt`
"""

import os
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelHook(BuildHookInterface):
    """Adds a platform's tag, and the kernels that were built for it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        platform, kernels = (os.environ.get(f"FASTGRU_WHEEL_{name}", "") for name in ("PLATFORM", "KERNELS"))
        if not platform and not kernels:
            return
        if version != "standard" or not platform or not os.path.isfile(os.path.join(kernels, "sources")):
            raise ValueError(
                "FASTGRU_WHEEL_PLATFORM and FASTGRU_WHEEL_KERNELS go together, for a wheel that is not editable; the"
                f" folder is what tools/build_wheels makes: got {platform!r}, {kernels!r} and {version!r}"
            )
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["force_include"][kernels] = "fastgru/prebuilt"
