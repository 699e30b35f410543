"""From the outputs of a network in PyTorch to Detectron2's instances."""

import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances

from mobileinst_core.postprocessing import PostProcessing
from mobileinst_core.prototype_masks import PrototypePostProcessing

from ..structures import to_array, to_instances

__all__ = [
    "build_postprocessing",
    "build_prototype_postprocessing",
    "predict_instances",
    "predict_prototype_masks",
]


def build_postprocessing(cfg: CfgNode) -> PostProcessing:
    """What chooses results, of images and of videos, with the thresholds of ``cfg.TEST``."""
    return PostProcessing(
        score_threshold=cfg.TEST.SCORE_THRESHOLD,
        mask_threshold=cfg.TEST.MASK_THRESHOLD,
        mask_rescore=cfg.TEST.MASK_RESCORE,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        procedure=cfg.TEST.PROCEDURE,
    )


def build_prototype_postprocessing(cfg: CfgNode) -> PrototypePostProcessing:
    """The same for systems that suppress boxes (``cfg.TEST.NMS``) and mix prototypes."""
    return PrototypePostProcessing(
        score_threshold=cfg.TEST.SCORE_THRESHOLD,
        mask_threshold=cfg.TEST.MASK_THRESHOLD,
        mask_rescore=cfg.TEST.MASK_RESCORE,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        nms_threshold=cfg.TEST.NMS.THRESHOLD,
    )


def predict_prototype_masks(
    postprocessing: PrototypePostProcessing,
    outputs: dict[str, torch.Tensor],
    *,
    output_size: tuple[int, int],
) -> Instances:
    """From scored boxes of one image to its instances, on the CPU.

    Args:
        postprocessing: chooses.
        outputs: ``scores`` (A, K), ``boxes`` (A, 4) as fractions of the image, ``coefficients``
            (A, D) and ``prototypes`` (D, h, w).
        output_size: (H, W) of the original image.

    Returns:
        Instances of the original size, best first, as :func:`to_instances` packs them.
    """
    arrays = {name: to_array(value) for name, value in outputs.items()}
    return to_instances(
        postprocessing.predict(**arrays, output_size=output_size), outputs["scores"].device
    )


def predict_instances(
    postprocessing: PostProcessing,
    scores: torch.Tensor,
    mask_logits: torch.Tensor,
    *,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    mask_stride: int,
    mask_upsampling: int = 1,
    encode: bool = False,
) -> Instances:
    """From the network's outputs for one image to its instances.

    The work is done on the CPU, wherever the outputs are.

    Args:
        postprocessing: chooses.
        scores: (N, K), in [0, 1].
        mask_logits: (N, h, w), of the padded input.
        image_size: (H, W) of the image inside the padded input.
        output_size: (H, W) of the original image.
        mask_stride: pixels of the padded input per pixel of the logits.
        mask_upsampling: factor by which the logits are resized before the sigmoid.
        encode: give RLEs in place of masks.

    Returns:
        Instances of the original size, best first, as :func:`to_instances` packs them, where the
        logits are.
    """
    detections = postprocessing.predict(
        to_array(scores),
        to_array(mask_logits),
        image_size=image_size,
        output_size=output_size,
        mask_stride=mask_stride,
        mask_upsampling=mask_upsampling,
        encode=encode,
    )
    return to_instances(detections, mask_logits.device)
