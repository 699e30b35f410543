"""The config keys of FastInst and of a light Mask2Former, ``MODEL.FASTINST``."""

from detectron2.config import CfgNode as CN

__all__ = ["add_fastinst_model_config"]


def add_fastinst_model_config(cfg: CN) -> None:
    """Add FastInst's keys to ``cfg``, in place."""
    cfg.MODEL.FASTINST = CN()
    # Width of pixel decoder, queries and mask embeddings; a quarter of it is that of pooled maps,
    # and four times that of feed-forward networks.
    cfg.MODEL.FASTINST.HIDDEN_DIM = 256
    # Normalisation of the pixel decoder. The paper has "GN"; "BN" is folded into convolutions.
    cfg.MODEL.FASTINST.NORM = "GN"
    # "fastinst": queries are pixels at stride 16 that look like objects, eight learned ones take
    # part in the attention, each layer updates the pixels, too, and is trained once more with the
    # masks of the ground truth as its attention masks. "mask2former": learned queries, no more.
    cfg.MODEL.FASTINST.DECODER = "fastinst"
    # Number of queries. Images with fewer pixels at stride 16 have as many as those.
    cfg.MODEL.FASTINST.NUM_QUERIES = 100
    # Decoder layers: 1 (FastInst-D1), 3 (D3).
    cfg.MODEL.FASTINST.NUM_LAYERS = 3
    # Attention heads of each layer.
    cfg.MODEL.FASTINST.NUM_HEADS = 8
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
