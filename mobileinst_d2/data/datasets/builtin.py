"""The public video instance segmentation data sets: where they may lie.

``ytvis_2019``, ``ytvis_2021``, ``ytvis_2022`` and ``ovis`` have the splits ``train``, ``val``,
``test`` and, for validation with ground truth, ``train_sub`` and ``val_sub`` (parts of ``train``
that users hold out). The files lie under ``$DETECTRON2_DATASETS`` (``./datasets`` by default) in
one of the layouts that are in use; which one is found out when a data set is loaded.

Other projects register some of these names when they are imported, and Detectron2 does not let
two projects register one name. So a name is registered when it is first used, and one that
another project holds is read from the files that it means there, if they are the same.
"""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from mobileinst_core.errors import ConfigError
from mobileinst_core.ytvis.classes import THING_CLASSES

from .ytvis import load_ytvis_json

__all__ = [
    "builtin_names",
    "find_builtin_paths",
    "is_builtin",
    "module_of",
    "paths_of_holder",
    "register_builtin_datasets",
]

# What the splits are called in folder and file names: officially, and by some projects.
_SPLIT_NAMES = {"train": ("train", "train"), "val": ("valid", "val"), "test": ("test", "test")}

# Annotation file and image folder for {split} (train, valid, test) or {short} (train, val, test).
_YTVIS_LAYOUTS = (
    ("{dataset}/{split}.json", "{dataset}/{split}/JPEGImages"),
    ("{dataset}/{split}/instances.json", "{dataset}/{split}/JPEGImages"),
    ("{dataset}/annotations/instances_{short}_sub.json", "{dataset}/{short}/JPEGImages"),
    ("{dataset}/annotations/instances_{short}.json", "{dataset}/{short}/JPEGImages"),
    ("{dataset}/{short}/instances.json", "{dataset}/{short}/JPEGImages"),
)
# MMTracking's. The second file is converted to another format: it is looked for last, so that those
# who have nothing else are told so.
_MMTRACKING_LAYOUTS = (
    ("youtube_vis_{year}/{split}.json", "youtube_vis_{year}/{split}/JPEGImages"),
    (
        "youtube_vis_{year}/annotations/youtube_vis_{year}_{split}.json",
        "youtube_vis_{year}/{split}/JPEGImages",
    ),
)
_LAYOUTS: dict[str, tuple[tuple[str, str], ...]] = {
    "ytvis_2019": (
        *_YTVIS_LAYOUTS,
        ("youtubevis/annotations/{split}.json", "youtubevis/{split}"),
        *_MMTRACKING_LAYOUTS,
    ),
    "ytvis_2021": (*_YTVIS_LAYOUTS, *_MMTRACKING_LAYOUTS),
    "ytvis_2022": _YTVIS_LAYOUTS,
    "ovis": (
        ("ovis/annotations/annotations_{split}.json", "ovis/{split}"),
        ("ovis/annotations/{split}.json", "ovis/{split}"),
        ("ovis/annotations_{split}.json", "ovis/{split}"),
    ),
}


def builtin_names() -> list[str]:
    """The names of all public video data sets with their splits, such as ``ytvis_2019_train``."""
    splits = (*_SPLIT_NAMES, "train_sub", "val_sub")
    return [f"{dataset}_{split}" for dataset in THING_CLASSES for split in splits]


def is_builtin(name: str) -> bool:
    """Whether a name is that of a public video data set."""
    return name in builtin_names()


def register_builtin_datasets(names: Iterable[str] | None = None) -> None:
    """Register public data sets with Detectron2; a name that exists already is left alone.

    Args:
        names: the names that are needed, of which others than `builtin_names` are skipped;
            by default all public ones.
    """
    for name in builtin_names() if names is None else names:
        if not is_builtin(name) or name in DatasetCatalog:
            continue
        classes = THING_CLASSES[_dataset_of(name)]
        DatasetCatalog.register(name, functools.partial(_load, name))
        MetadataCatalog[name] = _LocatingMetadata(**MetadataCatalog.get(name).as_dict())
        MetadataCatalog.get(name).set(
            evaluator_type="ytvis",
            thing_classes=list(classes),
            thing_dataset_id_to_contiguous_id={i + 1: i for i in range(len(classes))},
        )


def paths_of_holder(name: str) -> tuple[str, str] | None:
    """The files of a public data set whose name another project has registered.

    Args:
        name: a registered public name.

    Returns:
        annotation file and image folder as the other project has them; None if the name was
        registered here.

    Raises:
        ConfigError: if the other project does not tell its files, if they are missing, or if they
            are others than those that were found here.
    """
    holder = module_of(DatasetCatalog[name])
    if holder == __name__:
        return None
    metadata = MetadataCatalog.get(name).as_dict()
    theirs = metadata.get("json_file"), metadata.get("image_root")
    advice = (
        "List the files under a name of your own in DATASETS.CUSTOM, and put that name into "
        "DATASETS.TRAIN or DATASETS.TEST"
    )
    if None in theirs:
        raise ConfigError(
            f"The name '{name}' is held by {holder}, which does not tell where the files are. "
            f"{advice}."
        )
    json_file, image_root = map(str, theirs)
    described = (
        f"{_describe(Path(json_file), os.path.isfile(json_file))} with "
        f"{_describe(Path(image_root), os.path.isdir(image_root))}"
    )
    if not (os.path.isfile(json_file) and os.path.isdir(image_root)):
        raise ConfigError(
            f"The name '{name}' is held by {holder}, where it means {described}. Put the files "
            f"there. Or: {advice[0].lower()}{advice[1:]}."
        )
    try:
        ours = find_builtin_paths(name)
    except FileNotFoundError:
        return json_file, image_root
    if not all(map(os.path.samefile, ours, (json_file, image_root))):
        raise ConfigError(
            f"The name '{name}' is held by {holder}, where it means {described}, while "
            f"DETECTRON2_DATASETS leads to {ours[0]} with {ours[1]}. {advice}; or set "
            "DETECTRON2_DATASETS to the folder that the other project reads."
        )
    return json_file, image_root


def module_of(loader: Callable) -> str:
    """The module of a function of ``DatasetCatalog``, also behind ``functools.partial``."""
    while isinstance(loader, functools.partial):
        loader = loader.func
    return getattr(loader, "__module__", None) or type(loader).__module__


def find_builtin_paths(name: str) -> tuple[str, str]:
    """Find the files of a public data set.

    Args:
        name: registered name, such as ``ytvis_2019_train``.

    Returns:
        annotation file and image folder.

    Raises:
        FileNotFoundError: if no layout is complete; the message lists all that were tried.
        KeyError: if there is no public data set of this name.
    """
    candidates = _candidates(name)
    for json_file, image_root in candidates:
        if json_file.is_file() and image_root.is_dir():
            return str(json_file), str(image_root)
    tried = "\n".join(
        f"  {_describe(json_file, json_file.is_file())}  with  "
        f"{_describe(image_root, image_root.is_dir())}"
        for json_file, image_root in candidates
    )
    raise FileNotFoundError(
        f"Dataset '{name}' was not found. Set DETECTRON2_DATASETS to the folder that holds "
        f"the data sets, or use DATASETS.CUSTOM for files elsewhere. Tried:\n{tried}"
    )


def _describe(path: Path, exists: bool) -> str:
    return f"{path} ({'found' if exists else 'missing'})"


def _candidates(name: str) -> list[tuple[Path, Path]]:
    """All pairs of annotation file and image folder for a name, the preferred first."""
    dataset = _dataset_of(name)
    split = name.removeprefix(dataset + "_")
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()
    part = None
    if split.endswith("_sub"):
        # Both parts are taken from the videos of the training set.
        part, split = split, "train"
    pairs = _expand(dataset, split)
    if dataset == "ytvis_2022" and split == "train":
        # The training sets of 2021 and 2022 are the same.
        pairs += _expand("ytvis_2021", split)
    paths = [(root / json_file, root / image_root) for json_file, image_root in pairs]
    if part is not None:
        paths = [(json_file.with_name(f"{part}.json"), images) for json_file, images in paths]
    return list(dict.fromkeys(paths))


def _dataset_of(name: str) -> str:
    """``ytvis_2019`` of ``ytvis_2019_train``."""
    for dataset in _LAYOUTS:
        if name.startswith(dataset + "_"):
            return dataset
    raise KeyError(f"'{name}' is not one of the public video data sets")


def _expand(dataset: str, split: str) -> list[tuple[str, str]]:
    long_name, short_name = _SPLIT_NAMES[split]
    fields = {"dataset": dataset, "split": long_name, "short": short_name, "year": dataset[-4:]}
    return [
        (json_file.format(**fields), image_root.format(**fields))
        for json_file, image_root in _LAYOUTS[dataset]
    ]


def _load(name: str) -> list[dict]:
    return load_ytvis_json(*find_builtin_paths(name), name)


class _LocatingMetadata(Metadata):
    """Metadata that look for the files at the moment when a path is asked for.

    An evaluator may want the path before the data set has been loaded, and the folder of the data
    sets may be set after the registration.
    """

    @property
    def json_file(self) -> str:
        return find_builtin_paths(self.name)[0]

    @property
    def image_root(self) -> str:
        return find_builtin_paths(self.name)[1]
