"""What onnxruntime asks of the system before it begins: nothing, here."""

from fastgru.compat.onnxruntime.capi.build_and_package_info import __version__, package_name

__all__ = ["check_distro_info", "check_training_module", "get_package_name_and_version_info"]


def check_distro_info() -> None:
    """Every system that NumPy runs on will do."""


def get_package_name_and_version_info() -> tuple[str, str, str]:
    """The package, its release, and "" for that of CUDA."""
    return package_name, __version__, ""


def check_training_module() -> tuple[bool, str, str, str]:
    """False, with the above: there is no training module."""
    return (False, *get_package_name_and_version_info())
