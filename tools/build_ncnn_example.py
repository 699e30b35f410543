"""Builds demo/ncnn, and before it the ncnn library that it needs.

The source archive of the ncnn package is fetched with pip and checked against its SHA-256. Needed
are CMake, a compiler for C++17 and some minutes. What was built before is used again.

    python tools/build_ncnn_example.py                    into build/ncnn_example
    python tools/build_ncnn_example.py --quick            with an ncnn that is built soon and slow
    python tools/build_ncnn_example.py --ncnn INSTALLED   with an ncnn that is there already
    python tools/build_ncnn_example.py --arm64            cross-compiled for 64-bit ARM Linux
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mobileinst_core.command import command
from mobileinst_core.errors import UserError
from mobileinst_core.install_detectron2 import fetch_archive, say

REPOSITORY = Path(__file__).resolve().parent.parent

VERSION = "1.0.20261020"
SHA256 = "ad8cdd63e9755cfa8e23b9b6d9ce46156077d80298a89e7c3ba325ffccfca200"

NCNN_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "NCNN_VERSION": VERSION.rpartition(".")[2],
    "NCNN_BUILD_TOOLS": "OFF",
    "NCNN_BUILD_EXAMPLES": "OFF",
    "NCNN_BUILD_BENCHMARK": "OFF",
}
# One instruction set, which every processor of the family has, and the layers of exported models.
QUICK_OPTIONS = {
    # ncnn appends -Ofast, the slowest to compile, to the options of a build called Release.
    "CMAKE_BUILD_TYPE": "Quick",
    "CMAKE_CXX_FLAGS_QUICK": "-O1 -DNDEBUG",
    **dict.fromkeys(
        ("NCNN_RUNTIME_CPU", "NCNN_AVX", "NCNN_AVX2", "NCNN_AVX512", "NCNN_FMA", "NCNN_F16C")
        + ("NCNN_XOP", "NCNN_ARM82", "NCNN_INT8", "NCNN_BF16", "NCNN_WEIGHT_QUANT", "NCNN_C_API")
        + ("NCNN_PIXEL_ROTATE", "NCNN_PIXEL_AFFINE"),
        "OFF",
    ),
}
# Half precision of ARMv8.2 is in, also in a quick build.
ARM64_OPTIONS = {
    "CMAKE_SYSTEM_NAME": "Linux",
    "CMAKE_SYSTEM_PROCESSOR": "aarch64",
    "CMAKE_C_COMPILER": "aarch64-linux-gnu-gcc",
    "CMAKE_CXX_COMPILER": "aarch64-linux-gnu-g++",
    "NCNN_RUNTIME_CPU": "ON",
    "NCNN_ARM82": "ON",
}
# Merged into few files, ncnn is compiled in a third of the time. For x86, these layers repeat names
# of their plain versions; without them the plain ones run.
X86_OPTIONS = {"CMAKE_UNITY_BUILD": "ON", "CMAKE_UNITY_BUILD_BATCH_SIZE": "10"}
X86_UNUSED = ("binaryop", "interp", "reduction", "softmax", "unaryop")
QUICK_LAYERS = """
    BinaryOp Cast Clip Concat Convolution ConvolutionDepthWise Crop Eltwise ExpandDims Flatten
    GELU Gemm HardSigmoid HardSwish InnerProduct Input Interp LayerNorm MatMul MemoryData Noop
    Packing Padding Permute Pooling ReLU Reduction Reshape Sigmoid Slice Softmax Split Squeeze
    Swish UnaryOp
"""


class FetchError(UserError):
    """There is no ncnn to build it with."""


def build_example(
    output: Path, *, quick: bool = False, arm64: bool = False, ncnn: Path | None = None
) -> Path:
    """Build the example, and ncnn unless it is there.

    Args:
        output: folder for all that is made.
        quick: build ncnn in the least time, and not for speed.
        arm64: cross-compile for 64-bit ARM Linux.
        ncnn: an installed ncnn, to be used in place of an own one.

    Returns:
        The program.

    Raises:
        FetchError: the source archive of ncnn cannot be fetched.
        UserError: CMake or the compiler are missing or fail.
    """
    if shutil.which("cmake") is None:
        raise UserError("CMake is missing: install it, and a C++ compiler, as system packages")
    if ncnn is None:
        ncnn = output / "ncnn"
        if not any(ncnn.glob("lib*/cmake/ncnn")):
            build_ncnn(output, ncnn, quick, arm64)
    options = {"CMAKE_PREFIX_PATH": str(ncnn.resolve())}
    if arm64:
        options |= ARM64_OPTIONS
    build(REPOSITORY / "demo" / "ncnn", output / "example", options)
    return output / "example" / "mobileinst_ncnn"


def build_ncnn(scratch: Path, target: Path, quick: bool, arm64: bool) -> None:
    """Fetch, build and install ncnn.

    Args:
        scratch: folder for what is made on the way.
        target: where to install it.
        quick: see :func:`build_example`.
        arm64: likewise.

    Raises:
        FetchError: the source archive cannot be fetched.
        UserError: CMake or the compiler fail.
    """
    say(f"fetching the source of ncnn {VERSION}")
    try:
        content = fetch_archive("ncnn", VERSION, SHA256)
    except UserError as error:
        raise FetchError(
            f"pip cannot fetch the source of ncnn {VERSION}: give an installed ncnn with --ncnn"
        ) from error
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(scratch, filter="data")
    source = scratch / f"ncnn-{VERSION}"
    options = {**NCNN_OPTIONS, "CMAKE_INSTALL_PREFIX": str(target.resolve())}
    if quick:
        listing = (source / "src" / "CMakeLists.txt").read_text(encoding="utf-8")
        unused = set(re.findall(r"ncnn_add_layer\((\w+)", listing)) - set(QUICK_LAYERS.split())
        options |= QUICK_OPTIONS | {f"WITH_LAYER_{name.lower()}": "OFF" for name in unused}
        if not arm64 and platform.machine() in ("x86_64", "AMD64"):
            options |= X86_OPTIONS
            for path in (source / "src" / "layer" / "x86").iterdir():
                if path.name.startswith(tuple(f"{name}_" for name in X86_UNUSED)):
                    path.unlink()
    if arm64:
        options |= ARM64_OPTIONS
    build(source, scratch / "ncnn-build", options, "--target", "install")


def build(source: Path, folder: Path, options: Mapping[str, str], *arguments: str) -> None:
    """Configure and build a CMake project.

    Args:
        source: the project.
        folder: where to build it.
        options: CMake's variables.
        *arguments: for ``cmake --build``.

    Raises:
        UserError: one of the two fails; with the end of what was said.
    """
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    parallel = ["--parallel", str(os.cpu_count() or 1)]
    for step in (
        ["cmake", "-S", str(source), "-B", str(folder), *definitions],
        ["cmake", "--build", str(folder), *parallel, *arguments],
    ):
        say(" ".join(step[:5]) + " ...")
        done = subprocess.run(
            step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"{' '.join(step[:4])} failed:\n{done.stdout[-4000:]}")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, metavar="DIR", default=REPOSITORY / "build" / "ncnn_example")
    add("--quick", action="store_true", help="build ncnn in the least time, and not for speed")
    add("--arm64", action="store_true", help="cross-compile for 64-bit ARM Linux")
    add("--ncnn", type=Path, metavar="DIR", help="an installed ncnn to use")
    return parser.parse_args(arguments)


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: the command line, by default that of the process.
    """
    options = parse_arguments(arguments)
    program = build_example(
        options.output, quick=options.quick, arm64=options.arm64, ncnn=options.ncnn
    )
    say(f"built {program}")


if __name__ == "__main__":
    sys.exit(main())
