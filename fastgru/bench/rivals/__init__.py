"""The rivals, each in every configuration that may be its best; the fastest of them is what we are compared with.

    for contender in RIVALS["onnxruntime"].contenders(problem, threads=2): ...

`threads` is what a rival may use; those that are quicker with fewer are tried with fewer. All of them read the arrays
of `Problem.feeds` where they lie. Raises `UnableError` with the reason where a rival cannot run a problem. A rival is
imported when it is first asked for. Where FASTGRU_TARGET forces our kernels down to v3, which is AVX2, the rivals that
have a switch for it are held to AVX2 as well, and those that have none stay out.

`RIVALS` compute in float32 (float64 where the case does). `REDUCED` are the same engines in the lower precisions that
they have; they run beside a case in a lower precision.
"""

import importlib.util
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from fastgru.bench.contender import Contender, UnableError
from fastgru.bench.problem import Problem
from fastgru.bench.rivals.onnx_runtime import onnxruntime
from fastgru.bench.rivals.openvino import openvino
from fastgru.bench.rivals.pytorch import pytorch
from fastgru.records import dataclass
from fastgru.simd.target import TARGET, best

__all__ = ["REDUCED", "RIVALS", "Rival"]

# Read by oneDNN (which OpenVINO and PyTorch carry), by MKL and by PyTorch's own kernels when they are loaded.
_HELD_TO_AVX2: Final = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OV_CPU_MAX_ISA": "AVX2",
}


@dataclass(frozen=True)
class Rival:
    """name: what tables call it. package: its module. make: every configuration of it for a problem and threads."""

    name: str
    package: str
    make: Callable[[Problem, int], list[Contender]]
    has_isa_switch: bool

    def precision_of(self, problem: Problem) -> str:
        """What it computes in."""
        return self.name.partition(" ")[2] or problem.dtype

    def contenders(self, problem: Problem, threads: int) -> list[Contender]:
        """Raises `UnableError` where the rival is absent, cannot run this problem, or fails on it."""
        if importlib.util.find_spec(self.package) is None:
            raise UnableError(f"not installed (pip install {self.package})")
        if best().base != TARGET.base:
            if not self.has_isa_switch or TARGET.base != "v3":
                raise UnableError(f"has no switch that limits it to {TARGET.short}")
            os.environ.update(_HELD_TO_AVX2)
        try:
            return self.make(problem, threads)
        except UnableError:
            raise
        except Exception as error:  # another project's code, which may fail in any way
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UnableError(f"fails: {lines[0][:200]}") from error


RIVALS: Final[Mapping[str, Rival]] = {
    rival.name: rival
    for rival in (
        Rival("onnxruntime", "onnxruntime", onnxruntime, has_isa_switch=False),
        Rival("openvino", "openvino", openvino, has_isa_switch=True),
        Rival("torch", "torch", pytorch, has_isa_switch=True),
    )
}

# onnxruntime has no GRU in a lower precision; OpenVINO makes int8 models with the package nncf only, which leaves GRUs
# in float32.
REDUCED: Final[Mapping[str, Rival]] = {
    rival.name: rival
    for rival in (
        Rival("openvino bfloat16", "openvino", partial(openvino, precision="bfloat16"), has_isa_switch=True),
        Rival("torch bfloat16", "torch", partial(pytorch, precision="bfloat16"), has_isa_switch=True),
        Rival("torch int8", "torch", partial(pytorch, precision="int8"), has_isa_switch=True),
    )
}
