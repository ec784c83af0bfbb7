"""The lowerings, a module a family. Importing this package fills `engine.lowering.LOWERINGS`."""

from fastgru.engine.ops import activation as activation
from fastgru.engine.ops import cast as cast
from fastgru.engine.ops import conv as conv
from fastgru.engine.ops import einsum as einsum
from fastgru.engine.ops import elementwise as elementwise
from fastgru.engine.ops import gru as gru
from fastgru.engine.ops import indexing as indexing
from fastgru.engine.ops import integers as integers
from fastgru.engine.ops import linear as linear
from fastgru.engine.ops import matmul as matmul
from fastgru.engine.ops import norm as norm
from fastgru.engine.ops import pool as pool
from fastgru.engine.ops import quantize as quantize
from fastgru.engine.ops import recurrent as recurrent
from fastgru.engine.ops import reduce as reduce
from fastgru.engine.ops import resize as resize
from fastgru.engine.ops import scatter as scatter
from fastgru.engine.ops import selection as selection
from fastgru.engine.ops import shape as shape
from fastgru.engine.ops import softmax as softmax
from fastgru.engine.ops import spectral as spectral
from fastgru.engine.ops import topk as topk
