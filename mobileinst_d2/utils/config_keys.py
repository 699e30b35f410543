"""The keys of a config with dots, and keys beside those that another project has added."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from detectron2.config import CfgNode, get_cfg

from mobileinst_core.errors import ConfigError

__all__ = ["flatten", "keep_existing_keys"]

logger = logging.getLogger(__name__)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a config by their keys, such as ``MODEL.BACKBONE.NAME``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def keep_existing_keys(add: Callable[[CfgNode], None]) -> Callable[[CfgNode], None]:
    """Let a function add keys without resetting those that a config has already.

    Projects share names such as ``INPUT.SAMPLING_FRAME_NUM`` and ``SOLVER.OPTIMIZER``. A value
    that is there stays, with a warning where it differs from what the function would set.

    Args:
        add: adds keys with their defaults to the config that it is given, and changes none of
            Detectron2's own.

    Returns:
        The function, which raises ConfigError where a key is there with a value of another type.
    """

    @functools.wraps(add)
    def add_missing(cfg: CfgNode) -> None:
        wanted = get_cfg()
        add(wanted)
        _add_missing(cfg, wanted, get_cfg(), "")

    return add_missing


def _add_missing(cfg: CfgNode, wanted: CfgNode, detectron2: CfgNode, prefix: str) -> None:
    for key, value in wanted.items():
        name = f"{prefix}{key}"
        if key not in cfg:
            setattr(cfg, key, value)
        elif isinstance(value, CfgNode) and isinstance(cfg[key], CfgNode):
            _add_missing(cfg[key], value, detectron2.get(key, {}), f"{name}.")
        elif key in detectron2:
            continue
        elif not _suits(cfg[key], value):
            raise ConfigError(
                f"The config has {name} = {_describe(cfg[key])} already, from another project, "
                f"where this one needs a value such as {_describe(value)}. Add the keys of the "
                "two projects to different configs."
            )
        elif cfg[key] != value:
            logger.warning(
                "%s stays %r, as another project has set it; the default here is %r.",
                name,
                cfg[key],
                value,
            )


def _suits(found: object, wanted: object) -> bool:
    """Whether a value can stand where another is the default, by the rules of overrides."""
    if isinstance(found, CfgNode) or isinstance(wanted, CfgNode):
        return False
    if isinstance(wanted, float) and isinstance(found, int):
        return not isinstance(found, bool)
    if isinstance(wanted, list | tuple):
        return isinstance(found, list | tuple)
    return wanted is None or type(found) is type(wanted)


def _describe(value: object) -> str:
    return "a section" if isinstance(value, CfgNode) else repr(value)
