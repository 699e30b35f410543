"""Data sets given in the config, so that training on one's own data needs no code."""

import os
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from mobileinst_core.errors import ConfigError

from .builtin import register_builtin_datasets
from .coco import register_coco_json
from .ytvis import register_ytvis_instances

__all__ = ["register_custom_datasets"]

_KEYS = ("NAME", "FORMAT", "JSON", "IMAGE_ROOT")


def register_custom_datasets(cfg: CfgNode) -> None:
    """Register the data sets of ``DATASETS.CUSTOM``.

    Each entry is a mapping with the keys ``NAME``, ``FORMAT`` ("coco" or "ytvis"), ``JSON`` and
    ``IMAGE_ROOT``; ``~`` and environment variables in the paths are expanded. Class names come
    from the annotation file. Files are not read, and may be absent, until a data set is used: a
    trained model runs on machines without the data. Repeating a registration does nothing.

    Raises:
        ConfigError: if an entry has unknown, missing or malformed values, or its name is taken by
            other data.
    """
    for position, entry in enumerate(cfg.DATASETS.CUSTOM):
        where = f"DATASETS.CUSTOM[{position}]"
        name, kind, json_file, image_root = _validate(entry, where)
        register_builtin_datasets([name])  # a public name is not for other files
        try:
            if kind == "ytvis":
                register_ytvis_instances(name, {}, json_file, image_root)
            else:
                register_coco_json(name, json_file, image_root)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error


def _validate(entry: Any, where: str) -> tuple[str, str, str, str]:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} must be a mapping with the keys {_KEYS}, got {entry!r}")
    unknown = sorted(str(key) for key in entry if key not in _KEYS)
    missing = [key for key in _KEYS if key not in entry]
    if unknown or missing:
        problems = [
            f"{word} {', '.join(keys)}"
            for word, keys in (("unknown", unknown), ("missing", missing))
            if keys
        ]
        raise ConfigError(
            f"{where} must have exactly the keys {', '.join(_KEYS)}: {'; '.join(problems)}"
        )
    for key in _KEYS:
        if not isinstance(entry[key], str) or not entry[key]:
            raise ConfigError(f"{where}.{key} must be a non-empty text, got {entry[key]!r}")
    kind = entry["FORMAT"].lower()
    if kind not in ("coco", "ytvis"):
        raise ConfigError(f"{where}.FORMAT must be 'coco' or 'ytvis', got {entry['FORMAT']!r}")
    json_file, image_root = (
        os.path.expanduser(os.path.expandvars(entry[key])) for key in ("JSON", "IMAGE_ROOT")
    )
    return entry["NAME"], kind, json_file, image_root
