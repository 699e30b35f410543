"""The config keys of MobileInst, ``MODEL.MOBILEINST``.

*Open* are choices that the paper does not settle; ``docs/deviations.md`` has the reasons.
"""

from detectron2.config import CfgNode as CN

__all__ = ["add_mobileinst_model_config"]


def add_mobileinst_model_config(cfg: CN) -> None:
    """Add MobileInst's keys to ``cfg``, in place."""
    cfg.MODEL.MOBILEINST = CN()
    # The local features of the mask decoder from fine to coarse, and behind them the one with the
    # global semantics (X_G), for the enhancers and the global layers.
    cfg.MODEL.MOBILEINST.BACKBONE_FEATURES = ["x3", "x4", "x5", "x6"]
    # Width of the pyramid, of the mask feature X_mask and of the queries, which read it.
    cfg.MODEL.MOBILEINST.HIDDEN_DIM = 256
    # Open: channels of a mask kernel. Equal to HIDDEN_DIM = no projection of X_mask.
    cfg.MODEL.MOBILEINST.KERNEL_DIM = 128
    # Normalisation of the mask convolutions, the enhancers and the projection of X_G.
    cfg.MODEL.MOBILEINST.NORM = "BN"

    cfg.MODEL.MOBILEINST.MASK_DECODER = CN()
    # Name in MASK_DECODER_REGISTRY: SemanticEnhancedMaskDecoder, or SparseInst's encoder as
    # FPNPPMMaskDecoder (Table 6). The latter has no ENHANCERS and no DOWNSAMPLE.
    cfg.MODEL.MOBILEINST.MASK_DECODER.NAME = "SemanticEnhancedMaskDecoder"
    # Open: normalisation of the 3x3 pyramid convolutions and of the fusion; "" = none, with a bias.
    cfg.MODEL.MOBILEINST.MASK_DECODER.PYRAMID_NORM = "BN"
    # Semantic enhancers at 1/32 (Table 6, last two rows): any of "input" (on the coarsest
    # lateral) and "output" (on the coarsest map after the rounds); [] = none. Open: the places.
    cfg.MODEL.MOBILEINST.MASK_DECODER.ENHANCERS = ["input", "output"]
    # Open: how the bottom-up round goes down: "nearest" | "max" | "bilinear" | "conv".
    cfg.MODEL.MOBILEINST.MASK_DECODER.DOWNSAMPLE = "nearest"
    # Not in the paper: strides, of 8, 16 and 32, at which the 3x3 convolutions of pyramid and mask
    # branch are depthwise-separable; () = none.
    cfg.MODEL.MOBILEINST.MASK_DECODER.SEPARABLE_STRIDES = ()
    # 3x3 convolutions between the fused pyramid and X_mask (the "Nx conv" of Table 6).
    cfg.MODEL.MOBILEINST.MASK_DECODER.NUM_MASK_CONVS = 1
    # Channels of each pooled map of FPNPPMMaskDecoder; 0 = no pyramid pooling, a plain FPN.
    cfg.MODEL.MOBILEINST.MASK_DECODER.PPM_DIM = 512

    cfg.MODEL.MOBILEINST.INSTANCE_DECODER = CN()
    # Number of instance queries.
    cfg.MODEL.MOBILEINST.INSTANCE_DECODER.NUM_QUERIES = 100
    # Attention heads of each decoder layer.
    cfg.MODEL.MOBILEINST.INSTANCE_DECODER.NUM_HEADS = 8
    # Decoder layers in order, each "global" or "local" (Table 3).
    cfg.MODEL.MOBILEINST.INSTANCE_DECODER.LAYERS = ["global", "local"]
    # Pooling of X_mask to the local tokens: "max" | "avg" | "none" (Table 5).
    cfg.MODEL.MOBILEINST.INSTANCE_DECODER.LOCAL_POOL = "max"
    # Window and stride of that pooling.
    cfg.MODEL.MOBILEINST.INSTANCE_DECODER.LOCAL_POOL_SIZE = 8
    # Open: width of the one feed-forward network after the decoders (0 = none).
    cfg.MODEL.MOBILEINST.INSTANCE_DECODER.FFN_DIM = 1024
    # Open: linear layers of the kernel head (1, or an MLP).
    cfg.MODEL.MOBILEINST.INSTANCE_DECODER.KERNEL_MLP_LAYERS = 1

    cfg.MODEL.MOBILEINST.LOSS = CN()
    # lambda_c: sigmoid focal loss of the classes.
    cfg.MODEL.MOBILEINST.LOSS.CLASS_WEIGHT = 2.0
    # lambda_mask, on the dice term and ...
    cfg.MODEL.MOBILEINST.LOSS.DICE_WEIGHT = 2.0
    # ... on the pixel-wise binary cross-entropy. Open: the paper's 2 or SparseInst's code's 5.
    cfg.MODEL.MOBILEINST.LOSS.MASK_WEIGHT = 2.0
    # lambda_obj: IoU-aware objectness.
    cfg.MODEL.MOBILEINST.LOSS.OBJECTNESS_WEIGHT = 1.0
    # Exponent of the class probability in the matching, beside dice^0.8. The paper's 0.2 needs a
    # backbone that tells classes apart; from random weights 0.8 learns classes sooner.
    cfg.MODEL.MOBILEINST.LOSS.MATCHER_CLASS_POWER = 0.2

    # Temporal training by query passing, in clips of two frames or more (paper, section 3.5). Open:
    # which object supervises a passed query: "shared" (the assignment found in the target frame),
    # "identity" (the object it matched in the source frame), "own" (a matching of its own). "none"
    # = queries are not passed.
    cfg.MODEL.MOBILEINST.QUERY_PASSING = "shared"
