"""Keys of Detectron2 that do nothing here: nobody sets them without being told so."""

import logging
import re

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY

from mobileinst_core.errors import ConfigError
from mobileinst_d2.modeling import InstanceSegmentor
from mobileinst_d2.utils.config_keys import flatten

__all__ = ["check_unused_keys"]

logger = logging.getLogger(__name__)

# Switches that would change what is trained or measured, and why they cannot.
_REFUSED = {
    "MODEL.KEYPOINT_ON": "keypoints are not read",
    "MODEL.LOAD_PROPOSALS": "precomputed proposals are not read",
    "TEST.AUG.ENABLED": "there is no augmentation in testing",
}
# What the systems of this package do not read, whatever the config says.
_OF_OTHER_SYSTEMS = (
    "MODEL.ANCHOR_GENERATOR.",
    "MODEL.PANOPTIC_FPN.",
    "MODEL.PROPOSAL_GENERATOR.",
    "MODEL.RETINANET.",
    "MODEL.ROI_",
    "MODEL.RPN.",
    "MODEL.SEM_SEG_HEAD.",
)
# Sections that belong to a kind of backbone, and what is in the names of these.
_OF_BACKBONES = {"MODEL.FPN.": "fpn", "MODEL.RESNETS.": "resnet"}
# Our base configs set them for ResNets, and the configs on other backbones inherit them.
_INHERITED = tuple(f"MODEL.RESNETS.{name}" for name in ("NORM", "OUT_FEATURES", "STRIDE_IN_1X1"))
_OF_NOBODY = (
    "DATASETS.PRECOMPUTED_PROPOSAL",
    "DATASETS.PROPOSAL_FILES",
    "GLOBAL.",
    "TEST.AUG.",
    "TEST.KEYPOINT_OKS_SIGMAS",
)


def check_unused_keys(cfg: CfgNode) -> None:
    """Warn of keys of Detectron2 that are set in a full config and have no effect.

    Raises:
        ConfigError: if one of them would change what is trained or measured.
    """
    values = flatten(cfg)
    for name, reason in _REFUSED.items():
        if values[name]:
            raise ConfigError(f"{name} True is not possible: {reason} here. Set it to False")
    unused = list(_OF_NOBODY)
    architecture = cfg.MODEL.META_ARCHITECTURE
    if _is_of_this_package(architecture):
        backbone = cfg.MODEL.BACKBONE.NAME.lower()
        unused += _OF_OTHER_SYSTEMS
        unused += [section for section, kind in _OF_BACKBONES.items() if kind not in backbone]
    changed = [
        name
        for name, value in flatten(get_cfg()).items()
        if name.startswith(tuple(unused))
        and name not in _INHERITED
        and _plain(values[name]) != _plain(value)
    ]
    if changed:
        logger.warning(
            "These keys have no effect with %s on %s: %s.",
            architecture,
            cfg.MODEL.BACKBONE.NAME,
            ", ".join(changed),
        )


def _is_of_this_package(architecture: str) -> bool:
    if architecture not in META_ARCH_REGISTRY:
        return False  # of a module that is imported later
    system = META_ARCH_REGISTRY.get(architecture)
    is_ours = system.__module__.startswith(f"{__name__.partition('.')[0]}.")
    return is_ours and issubclass(system, InstanceSegmentor)


def _plain(value: object) -> str:
    """A value as text without brackets and quotes: a written config has other sequences."""
    return re.sub(r"[\[\]()'\",\s]+", " ", str(value)).strip()
