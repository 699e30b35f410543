"""The configs of the package by their names, in the manner of Detectron2's model zoo."""

import difflib
import functools
import os
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from mobileinst_core.errors import ConfigError

from .config import add_mobileinst_config

__all__ = ["config_names", "find_config_file", "get_config", "get_config_file"]

_PACKAGE = Path(__file__).parent
# A wheel has them inside of the package, a clone (and an editable installation) beside it.
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


@functools.cache
def _folder() -> Path:
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])


def config_names() -> list[str]:
    """Names of all configs, such as ``mobileinst/mobileinst_topformer-b_coco.yaml``, sorted."""
    folder = _folder()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))


def get_config_file(name: str) -> str:
    """Find a config of the package.

    Args:
        name: path relative to the folder of configs, such as
            ``mobileinst/mobileinst_topformer-b_coco.yaml``.

    Returns:
        Its path; ConfigError with the closest names if there is none.
    """
    if name in config_names():
        return str(_folder() / name)
    raise ConfigError(f"There is no config {name!r} in the package{_closest(name)}.")


def get_config(name: str) -> CfgNode:
    """The content of a config of the package, on top of all defaults, not frozen.

    There are no trained weights for download: ``MODEL.WEIGHTS`` is what the file says. See
    `get_config_file` for the name.
    """
    path = get_config_file(name)
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    cfg.merge_from_file(path)
    return cfg


def find_config_file(path_or_name: str | os.PathLike) -> str:
    """Find a config by its path, or by its name if there is no such file; else ConfigError."""
    text = os.fspath(path_or_name)
    if os.path.isfile(text):
        return text
    if text in config_names():
        return get_config_file(text)
    raise ConfigError(
        f"The config file {text!r} does not exist, and is no name of a config{_closest(text)}."
    )


def _closest(name: str) -> str:
    """The end of a message: names like one that does not exist."""
    close = difflib.get_close_matches(name, config_names(), n=3, cutoff=0.0)
    if not close:
        return f": {_folder()} is missing, install the package again"
    return f"; the closest are {', '.join(close)}"
