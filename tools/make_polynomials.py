"""Prints `fastgru/simd/coefficients.py`: near-minimax polynomials, fitted in 60 digits.

    python tools/make_polynomials.py > fastgru/simd/coefficients.py      (needs mpmath)

Each polynomial is a Chebyshev fit (mpmath.chebyfit) of the named function on the named interval. The error printed
with it is that of the polynomial before its coefficients are rounded.
"""

import mpmath as mp
import numpy as np

mp.mp.dps = 60
HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.0001")


def expm1_over_r(r: mp.mpf) -> mp.mpf:
    return mp.expm1(r) / r if r else mp.mpf(1)


def atanh_over_s(square: mp.mpf) -> mp.mpf:
    s = mp.sqrt(square)
    return mp.atanh(s) / s if s else mp.mpf(1)


EXPM1 = (expm1_over_r, [-HALF_LN2, HALF_LN2], "(exp(r) - 1) / r for |r| <= ln(2) / 2")
ATANH = (atanh_over_s, [mp.mpf(0), mp.mpf(1) / 9], "atanh(s) / s in s^2, for 0 <= s <= 1 / 3")


def table(name: str, what: tuple[object, list[mp.mpf], str], dtype: str, degree: int) -> str:
    function, interval, says = what
    coefficients, error = mp.chebyfit(function, interval, degree + 1, error=True)
    rounded = [np.dtype(dtype).type(str(c)) for c in coefficients]
    lines = [f"# {says}, degree {degree}, highest power first; error {float(error):.1e}"]
    lines.append(f"{name} = (")
    lines += [f"    {float(c)!r}," for c in rounded]
    return "\n".join([*lines, ")"])


def split_ln2(dtype: str, bits: int) -> tuple[float, float]:
    """Return a high part with so few bits that integer multiples of it are exact, with or without fma, and the rest."""
    high = mp.nint(mp.log(2) * 2**bits) / 2**bits
    return float(high), float(np.dtype(dtype).type(str(mp.log(2) - high)))


print('"""Polynomial coefficients of `fastgru.simd.math`. Made by tools/make_polynomials.py; do not edit."""\n')
for row in (
    ("EXPM1_F32", EXPM1, "float32", 5),
    ("EXPM1_F64", EXPM1, "float64", 10),
    ("ATANH_F32", ATANH, "float32", 5),
    ("ATANH_F64", ATANH, "float64", 12),
):
    print(table(*row), end="\n\n")
print("# ln(2) as a sum of two floats, the first of so few bits that k times it is exact.")
print(f"LN2_F32 = {split_ln2('float32', 9)!r}")
print(f"LN2_F64 = {split_ln2('float64', 32)!r}")
