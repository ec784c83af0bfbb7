"""The lowerings, a module a family. Importing this package fills `engine.lowering.LOWERINGS` and the kernel table."""

import fastgru.kernels.movement  # noqa: F401  (entered in the table; the lowerings name its handlers)
from fastgru.engine.ops import activation as activation
from fastgru.engine.ops import gru as gru
from fastgru.engine.ops import linear as linear
from fastgru.engine.ops import shape as shape
