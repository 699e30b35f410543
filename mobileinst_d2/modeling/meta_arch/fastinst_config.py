"""The config keys of FastInst and of a light Mask2Former, ``MODEL.FASTINST``."""

from detectron2.config import CfgNode as CN

__all__ = ["add_fastinst_model_config"]


def add_fastinst_model_config(cfg: CN) -> None:
    """Add FastInst's keys to ``cfg``, in place."""
    cfg.MODEL.FASTINST = CN()
    # Features of the backbone from fine to coarse; [] = those at strides 8, 16 and 32.
    cfg.MODEL.FASTINST.IN_FEATURES = []
    # Width of pixel decoder, queries and mask embeddings.
    cfg.MODEL.FASTINST.HIDDEN_DIM = 256
    # Normalisation of the pixel decoder. The paper has "GN"; "BN" is folded into convolutions.
    cfg.MODEL.FASTINST.NORM = "GN"
    # Channels of each pooled map of the pyramid pooling.
    cfg.MODEL.FASTINST.PPM_DIM = 64
    # Where queries come from: "activation" (pixels at stride 16 that look like objects) or
    # "learned" (embeddings, as in Mask2Former).
    cfg.MODEL.FASTINST.QUERIES = "activation"
    # Number of queries. Images with fewer pixels at stride 16 have as many as those.
    cfg.MODEL.FASTINST.NUM_QUERIES = 100
    # Further learned queries, which only take part in the attention.
    cfg.MODEL.FASTINST.NUM_AUX_QUERIES = 8
    # Update the pixels in each decoder layer, too; False as in Mask2Former.
    cfg.MODEL.FASTINST.DUAL_PATH = True
    # Decoder layers: 1 (FastInst-D1), 3 (D3).
    cfg.MODEL.FASTINST.NUM_LAYERS = 3
    # Attention heads of each layer.
    cfg.MODEL.FASTINST.NUM_HEADS = 8
    # Width of the feed-forward networks.
    cfg.MODEL.FASTINST.FFN_DIM = 1024
    # Rows, and columns, of the learned grid of positions. The public code ties it to the root of
    # NUM_QUERIES.
    cfg.MODEL.FASTINST.POSITION_SIZE = 10
    # Take no queries from the padding of images, and do not train pixels there. The public code
    # does both, and its weights belong to it: False in the configs of published files.
    cfg.MODEL.FASTINST.IGNORE_PADDING = True

    cfg.MODEL.FASTINST.LOSS = CN()
    # Weights of classes, binary cross-entropy and dice, in matching and loss ...
    cfg.MODEL.FASTINST.LOSS.CLASS_WEIGHT = 2.0
    cfg.MODEL.FASTINST.LOSS.MASK_WEIGHT = 5.0
    cfg.MODEL.FASTINST.LOSS.DICE_WEIGHT = 5.0
    # ... of queries without an object in the class loss, and of the class loss of pixels.
    cfg.MODEL.FASTINST.LOSS.NO_OBJECT_WEIGHT = 0.1
    cfg.MODEL.FASTINST.LOSS.PROPOSAL_WEIGHT = 20.0
    # Cost in the matching of a query that was taken from outside the object.
    cfg.MODEL.FASTINST.LOSS.LOCATION_COST = 1000.0
    # Points at which masks are compared.
    cfg.MODEL.FASTINST.LOSS.NUM_POINTS = 12544
    # Train each layer once more with the masks of the ground truth as its attention masks.
    cfg.MODEL.FASTINST.LOSS.MASK_GUIDED = True
