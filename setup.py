"""Packaging of mobileinst_d2. Ranges are here, tested versions in constraints.txt.

The wheel holds both packages, and the configs as ``mobileinst_d2/configs``. mobileinst_core can
be installed alone, see ``mobileinst_core/pyproject.toml``, which has its dependencies.

Detectron2 is not listed: it is on no registry under its own name.
``mobileinst-install-detectron2`` provides it.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# One per runtime of tools/export.py.
RUNTIMES = {
    "onnx": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
    "ncnn": ["ncnn>=1.0.20250503", "pnnx>=20250530"],
    "openvino": ["openvino>=2025.0", "onnx>=1.17", "onnxscript>=0.5"],
}


def read(path: str) -> str:
    """The text of a file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


def version() -> str:
    """The version, which is kept in the package."""
    text = read("mobileinst_core/__init__.py")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE).group(1)


class BuildWithConfigs(build_py):
    """Puts the configs into the wheel; an editable installation has them in the clone."""

    def run(self) -> None:
        """Build the packages, then copy the configs."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "mobileinst_d2", "configs")
            shutil.rmtree(target, ignore_errors=True)
            for path in (ROOT / "configs").rglob("*.yaml"):
                copy = target / path.relative_to(ROOT / "configs")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


setup(
    name="mobileinst_d2",
    version=version(),
    description="MobileInst: video instance segmentation on the mobile, for Detectron2",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(
        include=["mobileinst_core", "mobileinst_core.*", "mobileinst_d2", "mobileinst_d2.*"]
    ),
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={
        "console_scripts": [
            "mobileinst-demo = mobileinst_core.demo:main",
            "mobileinst-train = mobileinst_d2.commands.train:invoke_main",
            "mobileinst-finetune = mobileinst_d2.commands.finetune:main",
            "mobileinst-export = mobileinst_d2.commands.export:main",
            "mobileinst-evaluate = mobileinst_core.ytvis.evaluate:main",
            "mobileinst-install-detectron2 = mobileinst_core.install_detectron2:main",
        ]
    },
    install_requires=[
        *read("mobileinst_core/requirements.txt").split(),
        "torch>=2.6",
        "torchvision>=0.21",
        "timm>=1.0.15",
        "fvcore>=0.1.5,<0.1.6",
        "iopath>=0.1.7,<0.1.10",
        "tensorboard>=2.12",
    ],
    extras_require={
        **RUNTIMES,
        # COCO's metric in a third of the time.
        "coco": ["faster-coco-eval>=1.6.5"],
        # To compare with its models; AGPL-3.0, nothing else here needs it.
        "benchmark": ["ultralytics>=8.3"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "pytest-timeout>=2.3",
            "ruff>=0.14",
            "import-linter>=2.1",
            *RUNTIMES["onnx"],
            *RUNTIMES["ncnn"],
        ],
    },
)
