"""The interfaces of other packages, for code that was written for them; this package does the work.

`install` puts one in the place of the package itself, for libraries that import it by its own name.
"""

from fastgru.compat.installation import install

__all__ = ["install"]
