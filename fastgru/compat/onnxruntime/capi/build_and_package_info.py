"""The names of the package and its release."""

from fastgru.compat.onnxruntime.about import VERSION as __version__

package_name = "fastgru"

__all__ = ["__version__", "package_name"]
