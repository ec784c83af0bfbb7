"""The CPU and its vectors; the only floor that imports llvmlite.

`cpu` comes first: it may have to tell Numba, before Numba is imported, to build for a lesser CPU.
"""

from fastgru.simd import cpu as cpu
