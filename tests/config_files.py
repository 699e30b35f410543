"""The shipped configs, each read once by a process."""

import functools
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from mobileinst_d2 import add_mobileinst_config

_FOLDER = Path(__file__).resolve().parents[1] / "configs"


def config_names(folder: str = "") -> list[str]:
    """Names of the configs in a folder, and in those inside of it."""
    files = (_FOLDER / folder).rglob("*.yaml")
    return sorted(file.relative_to(_FOLDER).as_posix() for file in files)


def default_config() -> CfgNode:
    """Detectron2's config and ours, for the CPU and to be changed."""
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@functools.cache
def _read(name: str) -> CfgNode:
    cfg = default_config()
    cfg.merge_from_file(str(_FOLDER / name))
    return cfg


def read_config(name: str) -> CfgNode:
    """A config by its name, such as ``toy/base.yaml``, for the CPU and to be changed."""
    return _read(name).clone()
