"""The rivals, each in every configuration that may be its best; ours is compared with the fastest of them.

    for contender in RIVALS["onnxruntime"].contenders(problem, threads=2): ...

`threads` is the number that a rival may use; smaller numbers are tried, too, because some rivals are faster with them.
All of them read the arrays of `Problem.feeds` in place. Raises `UnableError` with the reason if a rival cannot run a
problem. A rival is imported when it is first needed. If FASTGRU_TARGET forces our kernels down to v3, which is AVX2,
rivals with a switch for it are limited to AVX2 as well, and rivals without one are left out.

`RIVALS` compute in float32 (or float64, if the case does). `REDUCED` are the same engines in the lower precisions that
they have, for cases in a lower precision.
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

# oneDNN (a part of OpenVINO and PyTorch), MKL and PyTorch's own kernels read these variables when they are loaded.
_HELD_TO_AVX2: Final = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OV_CPU_MAX_ISA": "AVX2",
}


@dataclass(frozen=True)
class Rival:
    """name: the one in tables. package: its module. make: returns every configuration for a problem and threads."""

    name: str
    package: str
    make: Callable[[Problem, int], list[Contender]]
    has_isa_switch: bool

    def precision_of(self, problem: Problem) -> str:
        """Return the precision in which the rival computes."""
        return self.name.partition(" ")[2] or problem.dtype

    def contenders(self, problem: Problem, threads: int) -> list[Contender]:
        """Return the contenders. Raises `UnableError` if the rival is absent, or cannot run this problem."""
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
        except Exception as error:  # code of another project, which may raise anything
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

# onnxruntime has no GRU in a lower precision. OpenVINO makes int8 models only with the package nncf, which leaves GRUs
# in float32.
REDUCED: Final[Mapping[str, Rival]] = {
    rival.name: rival
    for rival in (
        Rival("openvino bfloat16", "openvino", partial(openvino, precision="bfloat16"), has_isa_switch=True),
        Rival("torch bfloat16", "torch", partial(pytorch, precision="bfloat16"), has_isa_switch=True),
        Rival("torch int8", "torch", partial(pytorch, precision="int8"), has_isa_switch=True),
    )
}
