"""model.json: what someone needs to know to run an exported model, and what it must contain."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileinst_core.errors import UserError
from mobileinst_core.files import read_json

from .runners import ExportError

__all__ = [
    "CONFIG_FILE",
    "MANIFEST_FILE",
    "Manifest",
    "file_sizes",
    "read_manifest",
    "write_manifest",
]

MANIFEST_FILE = "model.json"
CONFIG_FILE = "config.yaml"
# 2: sizes of the files instead of their hashes, and the factor of upsampling of mask logits.
# 3: how the image is fitted into the input; suppression of boxes among the thresholds.
# 4: thresholds that nobody changed are none any more.
FORMAT_VERSION = 4

# What all graphs of this version take.
_INPUT = {"layout": "NCHW", "normalization": "inside"}
# What they may be fed.
_DTYPES = ("float32", "uint8")
# Shapes of the outputs: queries or boxes N, classes K, kernel or factors of prototypes D, height h
# and width w of the masks, y and x of the prototypes. A letter stands for one number in all graphs
# of a folder.
_SHAPES = {
    "scores": "1NK",
    "mask_logits": "1Nhw",
    "kernels": "1ND",
    "mask_features": "1Dhw",
    "boxes": "1N4",
    "coefficients": "1ND",
    "prototypes": "1Dyx",
}
# Names of the thresholds, in sections of model.json.
_THRESHOLDS = {
    "": ("score", "mask", "mask_rescore", "max_detections"),
    "nms": ("threshold",),
    "tracking": ("clip_len", "mode", "labels_per_track"),
    "streaming": ("score_on", "score_off", "max_lost", "max_instances", "scene_cut_threshold"),
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of model.json.

    Attributes:
        runtime: what the files are for.
        meta_architecture: ``MODEL.META_ARCHITECTURE``.
        precision: "fp32", "fp16" (of the stored weights, computed is in fp32) or "int8".
        input: the image that every graph takes: ``name``, ``layout``, ``shape``, ``dtype``,
            ``channels``, ``range``, ``normalization`` with ``mean`` and ``std``, ``pad_value``,
            ``fit`` ("pad" or "stretch") and what it means, ``resize``.
        graphs: by name ``files`` (bytes by name), ``inputs`` and ``outputs`` (``tensor`` and
            ``shape`` by name), ``max_difference`` and ``max_relative_difference`` to PyTorch by
            output.
        mask_stride: input pixels per pixel of the mask logits and mask features, whose sizes are
            rounded up. Prototypes cover the whole input, whatever their size.
        mask_upsampling: factor by which mask logits are resized before the sigmoid.
        thresholds: ``score``, ``mask``, ``mask_rescore``, ``max_detections``, ``procedure`` (where
            it is absent, "sparseinst"); and ``nms``, ``tracking`` and ``streaming``, the keys of
            ``TEST.NMS``, ``TEST.TRACKING`` and ``TEST.STREAMING`` in lower case.
        class_names: in the order of the class scores.
        category_ids: of the data set, in the same order.
        versions: of the packages that made it.
        quantization: of int8 ``calibration_images`` (their number) and ``fp32_convolutions`` (the
            weights of those that stayed in fp32); else None.
        format_version: of this file.
    """

    runtime: str
    meta_architecture: str
    precision: str
    input: dict[str, Any]
    graphs: dict[str, dict[str, Any]]
    mask_stride: int
    mask_upsampling: int
    thresholds: dict[str, Any]
    class_names: list[str]
    category_ids: list[int]
    versions: dict[str, str]
    quantization: dict[str, Any] | None = None
    format_version: int = FORMAT_VERSION

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the input."""
        return tuple(self.input["shape"][-2:])

    @property
    def has_prototypes(self) -> bool:
        """Whether the image graph gives boxes and prototypes, in place of mask logits."""
        return "prototypes" in self.graphs.get("image", {}).get("outputs", {})

    @property
    def files(self) -> list[str]:
        """Names of the files of all graphs."""
        return [name for graph in self.graphs.values() for name in graph["files"]]


def file_sizes(folder: Path, names: list[str]) -> dict[str, int]:
    """Bytes of files, by name."""
    return {name: (folder / name).stat().st_size for name in names}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write model.json."""
    content = dataclasses.asdict(manifest)
    content = {"format_version": content.pop("format_version"), **content}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: str | Path) -> Manifest:
    """Read model.json and check it against the files beside it.

    Args:
        folder: an exported folder.

    Returns:
        The content.

    Raises:
        ExportError: the folder was not made by this export, is damaged, or files are missing or
            cut off.
    """
    folder = Path(folder)
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise ExportError(f"there is no folder {folder}: give one that tools/export.py made")
    if not path.is_file():
        raise ExportError(f"{folder} is no exported model: it has no {MANIFEST_FILE}")
    try:
        content = read_json(path)
    except UserError as error:
        raise ExportError(str(error)) from error
    manifest = _parse(content, path)
    _check_files(folder, manifest)
    return manifest


def _parse(content: Any, path: Path) -> Manifest:
    if not isinstance(content, Mapping) or "format_version" not in content:
        raise ExportError(f"{path} was not written by tools/export.py: it has no format_version")
    if content["format_version"] != FORMAT_VERSION:
        raise ExportError(
            f"{path} has format_version {content['format_version']!r}, this version of the "
            f"project reads {FORMAT_VERSION}: export the model again"
        )
    for field in dataclasses.fields(Manifest):
        if field.name not in content:
            raise ExportError(f"{path} is damaged: it has no {field.name!r}")
    known = {field.name for field in dataclasses.fields(Manifest)}
    manifest = Manifest(**{name: value for name, value in content.items() if name in known})
    try:
        _check_types(manifest)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return manifest


def _check_types(manifest: Manifest) -> None:
    """Use everything as it will be used; what is wrong raises."""
    _require(isinstance(manifest.runtime, str), "runtime")
    _require(
        _is_shape(manifest.input["shape"]) and len(manifest.input["shape"]) == 4, "input.shape"
    )
    for key, value in _INPUT.items():
        _require(manifest.input[key] == value, f"input.{key}")
    _require(manifest.input["dtype"] in _DTYPES, "input.dtype")
    _require(manifest.input["channels"] in ("RGB", "BGR"), "input.channels")
    _require(manifest.input["fit"] in ("pad", "stretch"), "input.fit")
    pad_value = manifest.input["pad_value"]
    _require(
        len(pad_value) == 3 and all(isinstance(x, (int, float)) for x in pad_value),
        "input.pad_value",
    )
    _require(all(isinstance(x, str) for x in manifest.class_names), "class_names")
    _require(len(manifest.category_ids) == len(manifest.class_names), "category_ids")
    stride = manifest.mask_stride
    for key in ("mask_stride", "mask_upsampling"):
        value = getattr(manifest, key)
        _require(type(value) is int and value > 0, key)
    for section, names in _THRESHOLDS.items():
        values = manifest.thresholds[section] if section else manifest.thresholds
        for name in names:
            is_value = isinstance(values[name], bool | int | float | str)
            _require(is_value, f"thresholds.{section and section + '.'}{name}")
    _require(bool(manifest.graphs), "graphs")
    height, width = (-(-side // stride) for side in manifest.size)
    lengths = {"1": 1, "4": 4, "h": height, "w": width, "K": len(manifest.class_names)}
    for name, graph in manifest.graphs.items():
        for file, size in graph["files"].items():
            # Nothing outside the folder.
            _require(Path(file).name == file and type(size) is int, f"graphs.{name}.files")
        for kind in ("inputs", "outputs"):
            _require(bool(graph[kind]), f"graphs.{name}.{kind}")
            for tensor in graph[kind].values():
                _require(isinstance(tensor["tensor"], str), f"graphs.{name}.{kind}")
                _require(_is_shape(tensor["shape"]), f"graphs.{name}.{kind}")
        shapes = [tensor["shape"] for tensor in graph["inputs"].values()]
        _require(shapes == [manifest.input["shape"]], f"graphs.{name}.inputs")
        for output, tensor in graph["outputs"].items():
            fits = output not in _SHAPES or _fits(tensor["shape"], _SHAPES[output], lengths)
            _require(fits, f"graphs.{name}.outputs.{output}")


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(type(x) is int and x > 0 for x in value)


def _fits(shape: list[int], letters: str, lengths: dict[str, int]) -> bool:
    """Whether a shape agrees with lengths by letter, to which new letters are added."""
    return len(shape) == len(letters) and all(
        lengths.setdefault(letter, length) == length
        for letter, length in zip(letters, shape, strict=True)
    )


def _require(holds: bool, key: str) -> None:
    if not holds:
        raise ValueError(f"the value of {key} makes no sense")


def _check_files(folder: Path, manifest: Manifest) -> None:
    for name, graph in manifest.graphs.items():
        try:
            found = file_sizes(folder, list(graph["files"]))
        except OSError as error:
            raise ExportError(
                f"{folder}: a file of the graph {name!r} is missing: {error}"
            ) from error
        for file, size in graph["files"].items():
            if found[file] != size:
                raise ExportError(
                    f"{folder / file} is not the file that {MANIFEST_FILE} describes (it has "
                    f"{found[file]} bytes instead of {size}): copy the whole folder again, or "
                    "export again"
                )
