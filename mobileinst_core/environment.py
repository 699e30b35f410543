"""What a bug report needs to know about the machine and its packages."""

import platform
import sys
from collections.abc import Iterable
from importlib import metadata

from . import __version__

__all__ = ["describe_environment"]

# What this package and the runtimes need, in the order of the report.
_PACKAGES = (
    *("numpy", "scipy", "opencv-python", "opencv-python-headless", "pillow", "pycocotools"),
    *("orjson", "threadpoolctl", "av", "onnx", "onnxruntime", "ncnn", "pnnx", "openvino"),
)


def describe_environment(more_packages: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Versions of this project, of Python, of the system and of packages.

    Args:
        more_packages: names of further distributions.

    Returns:
        Pairs of a name and a text; "not installed" where a package is missing.
    """
    rows = [
        ("mobileinst", __version__),
        ("Python", sys.version.replace("\n", " ")),
        ("system", platform.platform()),
        ("processor", platform.machine()),
    ]
    return rows + [(name, _version(name)) for name in (*_PACKAGES, *more_packages)]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
