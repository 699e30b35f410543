"""The config keys of YOLACT, ``MODEL.YOLACT``."""

from detectron2.config import CfgNode as CN

__all__ = ["add_yolact_model_config"]


def add_yolact_model_config(cfg: CN) -> None:
    """Add YOLACT's keys to ``cfg``, in place."""
    cfg.MODEL.YOLACT = CN()
