"""An exported folder in place of a model of Detectron2."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, configurable, get_cfg

from mobileinst_core.runtime import model as runtime_model
from mobileinst_core.runtime.manifest import CONFIG_FILE, Manifest, read_manifest
from mobileinst_core.runtime.runners import ExportError

from .. import add_mobileinst_config
from ..structures import to_instances

__all__ = ["ExportedModel", "read_config", "read_thresholds"]


class ExportedModel(runtime_model.ExportedModel):
    """An exported model, called as the PyTorch model that it was made from.

    A call predicts images as Detectron2's models do; thresholds may come from a config.
    """

    @configurable
    def __init__(
        self,
        folder: str | Path,
        manifest: Manifest,
        *,
        runtime: str | None = None,
        num_threads: int = 1,
    ) -> None:
        """Open an exported folder, see :class:`mobileinst_core.runtime.model.ExportedModel`."""
        super().__init__(folder, manifest, runtime=runtime, num_threads=num_threads)

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        folder: str | Path,
        runtime: str | None = None,
        num_threads: int = 1,
    ) -> dict:
        """Keyword arguments from the config of the folder, which may have been changed.

        Args:
            cfg: the folder's config.yaml, with other thresholds perhaps.
            folder: made by tools/export.py.
            runtime: what to run it with; None = what it was exported for.
            num_threads: CPU threads of the runtime.

        Returns:
            The keyword arguments.

        Raises:
            ExportError: the folder is damaged, or ``cfg`` describes another network than it.
        """
        manifest = read_manifest(folder)
        fixed_size = () if manifest.input["fit"] == "stretch" else manifest.size
        for key, value, exported in (
            ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, manifest.meta_architecture),
            ("MODEL.NUM_CLASSES", cfg.MODEL.NUM_CLASSES, len(manifest.class_names)),
            ("INPUT.FORMAT", cfg.INPUT.FORMAT, manifest.input["channels"]),
            ("INPUT.FIXED_SIZE_TEST", tuple(cfg.INPUT.FIXED_SIZE_TEST), fixed_size),
        ):
            if value != exported:
                raise ExportError(f"{key} is {value}, but {folder} was exported with {exported}")
        return {
            "folder": folder,
            "manifest": dataclasses.replace(manifest, thresholds=read_thresholds(cfg)),
            "runtime": runtime,
            "num_threads": num_threads,
        }

    def __call__(self, batched_inputs: list[dict]) -> list[dict]:
        """Predict images as Detectron2's models do.

        Args:
            batched_inputs: per image ``image`` (3, h, w) in [0, 255], not larger than ``size``,
                and ``height``, ``width`` of the original image (optional).

        Returns:
            One ``{"instances": Instances}`` per image, with masks of the original size.

        Raises:
            ExportError: an image is too large, or the model was exported without this graph.
        """
        results = []
        for item in batched_inputs:
            height, width = item["image"].shape[-2:]
            output_size = (item.get("height", height), item.get("width", width))
            detections = self.predict_prepared(item["image"], output_size)
            results.append({"instances": to_instances(detections)})
        return results


def read_thresholds(cfg: CfgNode) -> dict[str, Any]:
    """The thresholds of a config as they are in model.json."""
    return {
        "score": cfg.TEST.SCORE_THRESHOLD,
        "mask": cfg.TEST.MASK_THRESHOLD,
        "mask_rescore": cfg.TEST.MASK_RESCORE,
        "procedure": cfg.TEST.PROCEDURE,
        "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
        "nms": {key.lower(): value for key, value in cfg.TEST.NMS.items()},
        "tracking": {key.lower(): value for key, value in cfg.TEST.TRACKING.items()},
        "streaming": {key.lower(): value for key, value in cfg.TEST.STREAMING.items()},
    }


def read_config(folder: str | Path, opts: Sequence[str] = ()) -> CfgNode:
    """The config that an exported folder is used with.

    Args:
        folder: made by tools/export.py.
        opts: config overrides KEY, VALUE, ....

    Returns:
        The config, not frozen.

    Raises:
        ExportError: the folder is damaged, or the overrides fit no config.
    """
    read_manifest(folder)  # tells what is wrong with the folder better than its config
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    path = Path(folder) / CONFIG_FILE
    try:
        cfg.merge_from_file(str(path))
        cfg.merge_from_list(list(opts))
    # yaml and yacs raise various types for various mistakes.
    except Exception as error:
        raise ExportError(f"{path} and the overrides give no config: {error}") from error
    return cfg
