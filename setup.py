"""Packaging of mobileinst_d2. Ranges stand here, tested versions in constraints.txt.

Detectron2 is not listed: it is on no registry under its own name.
``python tools/install_detectron2.py`` provides it.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# One per runtime of tools/export.py.
RUNTIMES = {
    "onnx": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
    "ncnn": ["ncnn>=1.0.20250503", "pnnx>=20250530"],
    "openvino": ["openvino>=2025.0", "onnx>=1.17", "onnxscript>=0.5"],
}


def version() -> str:
    """The version, which stands once, in the package."""
    text = (ROOT / "mobileinst_d2" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE).group(1)


setup(
    name="mobileinst_d2",
    version=version(),
    description="MobileInst: video instance segmentation on the mobile, for Detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(
        include=["mobileinst_core", "mobileinst_core.*", "mobileinst_d2", "mobileinst_d2.*"]
    ),
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "timm>=1.0.15",
        "fvcore>=0.1.5,<0.1.6",
        "iopath>=0.1.7,<0.1.10",
        "numpy>=1.26",
        "pillow>=10",
        "pycocotools>=2.0.7",
        "orjson>=3.10",
        "scipy>=1.11",
        "opencv-python-headless>=4.8",
        "tensorboard>=2.12",
        "tqdm>=4.60",
        "tabulate>=0.9",
    ],
    extras_require={
        **RUNTIMES,
        # To compare with its models; AGPL-3.0, nothing else here needs it.
        "benchmark": ["ultralytics>=8.3"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "pytest-timeout>=2.3",
            "ruff>=0.14",
            *RUNTIMES["onnx"],
            *RUNTIMES["ncnn"],
        ],
    },
)
