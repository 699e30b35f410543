"""From a config file and command line overrides to a checked config."""

import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.utils.file_io import PathManager

from mobileinst_core.errors import ConfigError
from mobileinst_d2.config import add_mobileinst_config
from mobileinst_d2.data.checks import check_input, check_names
from mobileinst_d2.data.datasets import register_builtin_datasets, register_custom_datasets
from mobileinst_d2.model_zoo import config_names, find_config_file, get_config_file
from mobileinst_d2.utils.config_keys import flatten
from mobileinst_d2.utils.resizing import fixed_test_size

from .unused_keys import check_unused_keys

__all__ = ["ConfigError", "setup_cfg", "unbuildable"]

logger = logging.getLogger(__name__)

# Beginnings of keys that have moved, and what they are now; the first that fits counts.
_MOVED = (
    ("MODEL.MASK_DECODER.HIDDEN_DIM", "MODEL.MOBILEINST.HIDDEN_DIM"),
    ("MODEL.INSTANCE_DECODER.HIDDEN_DIM", "MODEL.MOBILEINST.HIDDEN_DIM"),
    ("MODEL.INSTANCE_DECODER.KERNEL_DIM", "MODEL.MOBILEINST.KERNEL_DIM"),
    ("MODEL.MASK_DECODER.NORM", "MODEL.MOBILEINST.NORM"),
    ("MODEL.MASK_DECODER.IN_FEATURES", "MODEL.MOBILEINST.BACKBONE_FEATURES"),
    ("MODEL.MASK_DECODER.GLOBAL_FEATURE", "MODEL.MOBILEINST.BACKBONE_FEATURES"),
    ("MODEL.MASK_DECODER.", "MODEL.MOBILEINST.MASK_DECODER."),
    ("MODEL.INSTANCE_DECODER.", "MODEL.MOBILEINST.INSTANCE_DECODER."),
    ("MODEL.CRITERION.", "MODEL.MOBILEINST.LOSS."),
    ("MODEL.MOBILEINST.QUERY_PASSING.ENABLED", "MODEL.MOBILEINST.QUERY_PASSING"),
    ("MODEL.MOBILEINST.QUERY_PASSING.MATCH", "MODEL.MOBILEINST.QUERY_PASSING"),
    ("MODEL.FASTINST.QUERIES", "MODEL.FASTINST.DECODER"),
    ("MODEL.FASTINST.NUM_AUX_QUERIES", "MODEL.FASTINST.DECODER"),
    ("MODEL.FASTINST.DUAL_PATH", "MODEL.FASTINST.DECODER"),
    ("MODEL.FASTINST.LOSS.MASK_GUIDED", "MODEL.FASTINST.DECODER"),
    ("MODEL.MOBILE_FPN.BOTTOM_UP", "MODEL.BACKBONE.NAME"),
    ("MODEL.TIMM.PRETRAINED", "MODEL.BACKBONE.WEIGHTS"),
    ("MODEL.TOPFORMER.", "MODEL.BACKBONE."),
    ("MODEL.SEAFORMER.", "MODEL.BACKBONE."),
    ("MODEL.TIMM.", "MODEL.BACKBONE."),
)

# Keys that are none any more, and what was decided; docs/deviations.md has the reasons.
_STRIDES = "the backbone's maps at strides 8, 16 and 32"
_DECIDED = {
    "DATALOADER.VIS_SAMPLE_UNIT": "annotated frames",
    "MODEL.FASTINST.FFN_DIM": "four times HIDDEN_DIM",
    "MODEL.FASTINST.IN_FEATURES": _STRIDES,
    "MODEL.FASTINST.PPM_DIM": "a quarter of HIDDEN_DIM",
    "MODEL.MOBILEINST.INSTANCE_DECODER.NAME": "DualTransformerInstanceDecoder",
    "MODEL.SPARSEINST.IN_FEATURES": _STRIDES,
    "MODEL.SPARSEINST.NUM_CONVS": "4",
    "MODEL.SPARSEINST.PPM_DIM": "a quarter of HIDDEN_DIM",
    "MODEL.YOLACT.IN_FEATURES": _STRIDES,
    "MODEL.YOLACT.NUM_PROTOTYPES": "32",
    "TEST.NMS.CANDIDATES": "200",
    "TEST.STREAMING.CLASS_MARGIN": "0.1",
    "TEST.STREAMING.SMOOTHING": "0.8",
    "TEST.TRACKING.CHUNK": "8, or what a GPU has memory for",
    "TEST.TRACKING.KEEP_TRACKS": "three for each that may be reported",
}


def setup_cfg(config_file: str | os.PathLike, opts: Sequence[str] = ()) -> CfgNode:
    """Build the config of a run, and register the data sets that it lists.

    Where MODEL.DEVICE asks for CUDA and there is none, it becomes "cpu" with a warning. Another
    tells of keys of Detectron2 that are set and have no effect.

    Args:
        config_file: yaml file, which may name another as ``_BASE_``. Both may also be names of
            configs of the package, see `mobileinst_d2.model_zoo.get_config_file`.
        opts: overrides KEY, VALUE, KEY, VALUE, ... as on the command line.

    Returns:
        The config, not frozen.

    Raises:
        ConfigError: if the file is missing or no yaml mapping, a key is unknown, a value has the
            wrong type, a key has no value, INPUT.FIXED_SIZE_TEST is no size, or the config asks for
            what is not here. Unknown keys come with the closest known one.
    """
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    _merge_file(cfg, os.fspath(config_file))
    _merge_opts(cfg, list(opts))
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ConfigError(
            f"MODEL.DEVICE {cfg.MODEL.DEVICE!r} is no device: choose cpu, cuda or cuda:0"
        ) from error
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning(
            "MODEL.DEVICE=%s, but no GPU can be used here: running on the CPU.", cfg.MODEL.DEVICE
        )
        cfg.MODEL.DEVICE = "cpu"
    if not cfg.OUTPUT_DIR:
        raise ConfigError("OUTPUT_DIR is empty: name a folder for what is written")
    check_unused_keys(cfg)
    for key, width in flatten(cfg.MODEL, "MODEL.").items():
        least = 1 if key.endswith(("HIDDEN_DIM", "KERNEL_DIM")) else 0
        if key.endswith("_DIM") and isinstance(width, int) and width < least:
            raise ConfigError(f"{key} is {width}: choose a width of at least {least}")
    check_names(cfg)
    check_input(cfg)
    fixed_test_size(cfg)
    register_custom_datasets(cfg)
    register_builtin_datasets([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    return cfg


class _NamedBases(CfgNode):
    """Reads yaml files whose ``_BASE_`` may be a name of the package."""

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """As `CfgNode` does, which has put the folder of a file before the name in it."""
        if not PathManager.isfile(filename):
            names = [name for name in config_names() if filename.endswith(f"/{name}")]
            filename = get_config_file(max(names, key=len)) if names else filename
        return super().load_yaml_with_base(filename, allow_unsafe)


def _merge_file(cfg: CfgNode, path: str) -> None:
    if not path:
        raise ConfigError("No config file is given. Name one with --config-file.")
    path = find_config_file(path)
    try:
        loaded = _NamedBases.load_yaml_with_base(path, allow_unsafe=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: its _BASE_ {error.filename!r} does not exist.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid yaml: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}, or its _BASE_, is no text in UTF-8: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: its _BASE_ leads back to itself") from error
    except AttributeError as error:
        raise ConfigError(f"{path}: its _BASE_ must be the name of a file") from error
    except TypeError:
        loaded = None  # an empty file
    if not isinstance(loaded, Mapping):
        raise ConfigError(f"{path} must hold a mapping of keys to values.")
    unknown = [key for key in flatten(loaded) if not _is_known(cfg, key)]
    if unknown:
        raise ConfigError(f"{path}: {_describe_unknown(cfg, unknown)}")
    try:
        cfg.merge_from_other_cfg(CfgNode(loaded))
    except (ValueError, KeyError, AssertionError) as error:
        raise ConfigError(f"{path}: {_text(error)}") from error


def _merge_opts(cfg: CfgNode, opts: list[str]) -> None:
    for opt in opts[::2]:
        if opt.startswith("--"):
            raise ConfigError(f"{opt} must come before the KEY VALUE overrides.")
        if "=" in opt:
            raise ConfigError(f"Write overrides as KEY VALUE, with a space: {opt!r}.")
        if not opt[:1].isalpha():
            raise ConfigError(
                f"Command line: {opt!r} is one word too many for the option before it, and no "
                "config key, which could follow."
            )
    unknown = [key for key in opts[::2] if not _is_known(cfg, key)]
    if unknown:
        raise ConfigError(f"Command line: {_describe_unknown(cfg, unknown)}")
    if len(opts) % 2:
        raise ConfigError(f"Command line: {opts[-1]} has no value. Overrides are KEY VALUE pairs.")
    try:
        cfg.merge_from_list(opts)
    except (ValueError, KeyError, AssertionError) as error:
        raise ConfigError(f"Command line: {_text(error)}") from error


def _is_known(cfg: CfgNode, key: str) -> bool:
    node = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode):
            return False
        if part not in node:
            return node.is_new_allowed()
        node = node[part]
    return True


def _describe_unknown(cfg: CfgNode, unknown: Sequence[str]) -> str:
    known = list(flatten(cfg))
    parts = []
    for key in unknown:
        if key in _DECIDED:
            parts.append(f"{key!r} is no config key any more, it is {_DECIDED[key]}: take it out")
            continue
        moved = [new + key.removeprefix(old) for old, new in _MOVED if key.startswith(old)]
        if moved and moved[0] in known:
            parts.append(f"there is no config key {key!r}; it is {moved[0]!r} now")
            continue
        close = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.0)
        parts.append(f"there is no config key {key!r}; the closest is {close[0]!r}")
    return "; ".join(parts) + "."


def unbuildable(error: Exception) -> ConfigError:
    """What a config is told of which no model can be built."""
    what = str(error)
    if isinstance(error, KeyError) and "registry" in what:
        what = (
            f"{error.args[0]} A network or a part of your own registers itself where its module is "
            "imported: import that first (docs/architecture.md)."
        )
    return ConfigError(f"the model cannot be built: {what}")


def _text(error: Exception) -> str:
    text = str(error.args[0]) if error.args else type(error).__name__
    if "(<class 'float'> vs. <class 'int'>)" in text:
        text += ": write the number with a decimal point"
    return text
