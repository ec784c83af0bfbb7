"""The interfaces of other packages, for programs that were written for them; fastgru does the work.

`install` puts one in the place of the package itself, for libraries that import it by its own name.
"""

from fastgru.compat.installation import install

__all__ = ["install"]
