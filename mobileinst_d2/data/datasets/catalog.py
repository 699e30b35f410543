"""Data sets by their names, with those that are registered on first use."""

from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_core.errors import ConfigError

from .builtin import is_builtin, paths_of_holder, register_builtin_datasets
from .pseudo_clips import register_pseudo_clips
from .registration import take_records
from .ytvis import load_ytvis_json

__all__ = ["is_registered", "is_video_dataset", "load_videos"]


def is_registered(name: str) -> bool:
    """Whether there is a data set of this name.

    Public video data sets, and images as clips, are registered by asking.

    Args:
        name: such as ``ytvis_2019_train``, ``coco_2017_train_as_ytvis_2019``, or anything that was
            registered by the user or by another project.

    Raises:
        ConfigError: if it would be images as clips, and one of its two parts does not exist.
    """
    register_builtin_datasets([name])
    register_pseudo_clips(name)
    return name in DatasetCatalog


def is_video_dataset(name: str) -> bool:
    """Whether a data set consists of videos, by its ``evaluator_type`` "ytvis"."""
    register_builtin_datasets([name])
    return is_builtin(name) or MetadataCatalog.get(name).get("evaluator_type") == "ytvis"


def load_videos(name: str) -> list[dict]:
    """Load a registered video data set, whoever has registered it.

    The records of other projects have another form than those of `load_ytvis_json`, so that their
    files are read instead.

    Returns:
        Video records, see `load_ytvis_json`.

    Raises:
        ConfigError: if the name belongs to another project, and its files are not known or not
            those that are meant here.
    """
    register_builtin_datasets([name])
    paths = paths_of_holder(name) if is_builtin(name) else None
    if paths is None:
        records = take_records(name)
        records = DatasetCatalog.get(name) if records is None else records
        if all("tracks" in record for record in records):
            return records
        metadata = MetadataCatalog.get(name)
        paths = metadata.get("json_file"), metadata.get("image_root")
        if None in paths:
            raise ConfigError(
                f"The records of {name} have no 'tracks', as another package has registered it, "
                "and its metadata name no 'json_file' and 'image_root' that could be read. List "
                "the files under a new name in DATASETS.CUSTOM."
            )
    return load_ytvis_json(*paths, name)
