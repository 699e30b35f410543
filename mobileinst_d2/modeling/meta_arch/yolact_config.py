"""The config keys of YOLACT, ``MODEL.YOLACT``."""

from detectron2.config import CfgNode as CN

__all__ = ["add_yolact_model_config"]


def add_yolact_model_config(cfg: CN) -> None:
    """Add YOLACT's keys to ``cfg``, in place."""
    cfg.MODEL.YOLACT = CN()
    # (H, W) that the model stretches every image to, in training and in evaluation. The mappers
    # leave the size to it: INPUT.MIN_SIZE_TRAIN (0,) and INPUT.MIN_SIZE_TEST 0.
    cfg.MODEL.YOLACT.INPUT_SIZE = [550, 550]
    # Width of the pyramid, the protonet and the head.
    cfg.MODEL.YOLACT.HIDDEN_DIM = 256

    # Side of a square anchor on each level from P3 on, in pixels of INPUT_SIZE.
    cfg.MODEL.YOLACT.ANCHOR_SIZES = [24, 48, 96, 192, 384]
    # Width over height of the anchors at a position.
    cfg.MODEL.YOLACT.ANCHOR_RATIOS = [1.0, 0.5, 2.0]
    # "square": squares of those widths, as the published weights were trained with, or "ratio": as
    # the paper says.
    cfg.MODEL.YOLACT.ANCHOR_SHAPE = "square"

    # Objects whose box is narrower or lower than this, in pixels of INPUT_SIZE, are not trained on.
    cfg.MODEL.YOLACT.MIN_BOX_SIZE = 4.0
    cfg.MODEL.YOLACT.LOSS = CN()
    # Cross-entropy of the classes, over positives and hard negatives.
    cfg.MODEL.YOLACT.LOSS.CLASS_WEIGHT = 1.0
    # Smooth L1 of the boxes.
    cfg.MODEL.YOLACT.LOSS.BOX_WEIGHT = 1.5
    # Binary cross-entropy of the masks inside their boxes.
    cfg.MODEL.YOLACT.LOSS.MASK_WEIGHT = 6.125
    # Binary cross-entropy of the semantic segmentation, which exists in training only.
    cfg.MODEL.YOLACT.LOSS.SEMANTIC_WEIGHT = 1.0
