"""The evaluator of each kind of data set."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, inference_context
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from mobileinst_d2.data.datasets import is_video_dataset
from mobileinst_d2.evaluation import COCOInstanceEvaluator, YTVISEvaluator
from mobileinst_d2.modeling import InstanceSegmentor, VideoSegmentor
from mobileinst_d2.tracking import VideoPredictor

from .setup import ConfigError

__all__ = [
    "build_evaluator",
    "build_predictor",
    "evaluated_tasks",
    "evaluation_context",
    "folder_of_results",
    "known_metrics",
]

EVALUATORS = {"coco": COCOInstanceEvaluator, "ytvis": YTVISEvaluator}


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_folder: str | None = None
) -> DatasetEvaluator:
    """Build the evaluator that the data set's metadata asks for.

    Args:
        cfg: the config; reads OUTPUT_DIR and what the network predicts.
        dataset_name: registered name.
        output_folder: where the results go; by default ``inference`` in OUTPUT_DIR, and there
            a folder of its own if there are several data sets.

    Returns:
        The evaluator.

    Raises:
        ConfigError: if the metadata ask for an unknown evaluator, or for none.
    """
    kind = _kind(dataset_name)
    if output_folder is None:
        folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        output_folder = folder_of_results(cfg, folder, dataset_name)
    options = {"tasks": evaluated_tasks(cfg)} if kind == "coco" else {}
    return EVALUATORS[kind](dataset_name, output_dir=output_folder, **options)


def known_metrics(cfg: CfgNode) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the evaluators of `build_evaluator` give, as metrics.json has it.

    Yields:
        The beginning of the names, such as "segm/", and those behind it that are not of a class.

    Raises:
        ConfigError: if a data set of DATASETS.TEST has no evaluator.
    """
    for name in cfg.DATASETS.TEST:
        kind = _kind(name)
        for task in evaluated_tasks(cfg) if kind == "coco" else ("segm",):
            start = f"{name}/{task}/" if len(cfg.DATASETS.TEST) > 1 else f"{task}/"
            yield start, EVALUATORS[kind].METRICS


def _kind(dataset_name: str) -> str:
    """Key of `EVALUATORS` that the metadata of a data set ask for."""
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    kind = "ytvis" if is_video_dataset(dataset_name) else kind
    if kind not in EVALUATORS:
        raise ConfigError(
            f"The data set {dataset_name!r} has evaluator_type={kind!r} in its metadata; "
            f"known are {sorted(EVALUATORS)}. Register it with register_coco_instances or "
            "register_ytvis_instances, or list it in DATASETS.CUSTOM; for images that a function "
            f"of your own gives, set MetadataCatalog.get({dataset_name!r}).evaluator_type = 'coco'."
        )
    return kind


def build_predictor(
    cfg: CfgNode, model: Any, dataset_name: str
) -> Callable[[list[dict]], list[dict]]:
    """What maps a test batch to results: the model itself, or for videos a tracker on it.

    Raises:
        ConfigError: if the network cannot track, or an option of tracking has no such value.
    """
    if not is_video_dataset(dataset_name):
        return model
    if isinstance(model, nn.Module) and not isinstance(model, VideoSegmentor):
        raise ConfigError(
            f"{cfg.MODEL.META_ARCHITECTURE} predicts single images and cannot track the videos of "
            f"'{dataset_name}' in DATASETS.TEST: name a data set of images, or ()"
        )
    return VideoPredictor(cfg, model)


def folder_of_results(cfg: CfgNode, folder: str, dataset_name: str) -> str:
    """Where the results of a data set go: a folder of its own if there are several."""
    return os.path.join(folder, dataset_name) if len(cfg.DATASETS.TEST) > 1 else folder


@contextmanager
def evaluation_context(model: Any, evaluator: DatasetEvaluator) -> Iterator[None]:
    """Put a network into evaluation mode; a predictor is no module that Detectron2 could put there.

    Args:
        model: a network, or what predicts without PyTorch.
        evaluator: takes its results.
    """
    with ExitStack() as contexts:
        if isinstance(model, nn.Module):
            contexts.enter_context(inference_context(model))
            # With MODEL.COMPILE, the network would be translated for each size of an image.
            contexts.enter_context(torch.compiler.set_stance("force_eager"))
        # Evaluators of other classes may read masks.
        if isinstance(model, InstanceSegmentor) and type(evaluator) is COCOInstanceEvaluator:
            contexts.enter_context(model.encoding_masks())
        yield


def evaluated_tasks(cfg: CfgNode) -> tuple[str, ...]:
    """What a network predicts of images that is evaluated: "bbox", "segm" or both.

    The boxes of most `InstanceSegmentor`s are the bounds of their masks.
    """
    kind = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    if issubclass(kind, InstanceSegmentor):
        return ("bbox", "segm") if kind.predicts_boxes else ("segm",)
    return ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
