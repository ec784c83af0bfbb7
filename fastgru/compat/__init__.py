"""The interfaces of other packages, implemented with fastgru, for programs that were written for those packages.

`install` puts one in place of the package itself, for libraries that import that package by name.
"""

from fastgru.compat.installation import install

__all__ = ["install"]
