"""The checks that onnxruntime makes at import. None is needed here."""

from fastgru.compat.onnxruntime.capi.build_and_package_info import __version__, package_name

__all__ = ["check_distro_info", "check_training_module", "get_package_name_and_version_info"]


def check_distro_info() -> None:
    """Do nothing: every system that runs NumPy is supported."""


def get_package_name_and_version_info() -> tuple[str, str, str]:
    """Return the name of the package, its release, and "" for the release of CUDA."""
    return package_name, __version__, ""


def check_training_module() -> tuple[bool, str, str, str]:
    """Return False and the information about the package: there is no training module."""
    return (False, *get_package_name_and_version_info())
