"""The config keys of SparseInst, ``MODEL.SPARSEINST``.

Defaults are those of the published models; ``docs/deviations.md`` says where paper and public code
differ.
"""

from detectron2.config import CfgNode as CN

__all__ = ["add_sparseinst_model_config"]


def add_sparseinst_model_config(cfg: CN) -> None:
    """Add SparseInst's keys to ``cfg``, in place."""
    cfg.MODEL.SPARSEINST = CN()
    # Width of encoder and branches; a quarter of it is that of pooled maps.
    cfg.MODEL.SPARSEINST.HIDDEN_DIM = 256
    # Instance activation maps, which are the queries.
    cfg.MODEL.SPARSEINST.NUM_QUERIES = 100
    # Activation maps that make up one query: 1 = IAM, 4 = the published Group-IAM.
    cfg.MODEL.SPARSEINST.GROUPS = 1
    # What makes weights of the activation maps: "sigmoid" (divided by its sum) | "softmax".
    cfg.MODEL.SPARSEINST.ACTIVATION = "sigmoid"
    # Channels of a mask kernel.
    cfg.MODEL.SPARSEINST.KERNEL_DIM = 128

    cfg.MODEL.SPARSEINST.LOSS = CN()
    # Sigmoid focal loss of the classes.
    cfg.MODEL.SPARSEINST.LOSS.CLASS_WEIGHT = 2.0
    # Dice loss of the masks.
    cfg.MODEL.SPARSEINST.LOSS.DICE_WEIGHT = 2.0
    # Pixel-wise binary cross-entropy of the masks: 5 in the public code, 2 in the paper.
    cfg.MODEL.SPARSEINST.LOSS.MASK_WEIGHT = 5.0
    # IoU-aware objectness.
    cfg.MODEL.SPARSEINST.LOSS.OBJECTNESS_WEIGHT = 1.0
    # Matches that the pixel-wise and the objectness loss are divided by: "global" (of all
    # processes) | "as_published" (of each process, so that gradients depend on how the objects
    # fall on processes).
    cfg.MODEL.SPARSEINST.LOSS.NORMALIZATION = "global"
