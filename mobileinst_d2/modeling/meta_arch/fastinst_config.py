"""The config keys of FastInst, ``MODEL.FASTINST``."""

from detectron2.config import CfgNode as CN

__all__ = ["add_fastinst_model_config"]


def add_fastinst_model_config(cfg: CN) -> None:
    """Add FastInst's keys to ``cfg``, in place."""
    cfg.MODEL.FASTINST = CN()
