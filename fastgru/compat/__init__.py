"""The interfaces of other packages, over this one: for code that was written for them.

`install` puts one in the place of the package itself, for libraries that import it by its own name.
"""

from fastgru.compat.installation import install

__all__ = ["install"]
