"""A small world in which the commands of the documents run: a copy of the checkout with tiny data.

Everything that the documents name is made here: data sets at their usual places, a video, weights
(random ones), an exported model.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_util

from mobileinst_core.video.readers import VideoReader
from mobileinst_core.video.writers import VideoWriter
from mobileinst_core.ytvis.classes import THING_CLASSES
from mobileinst_core.ytvis.moving_shapes import make_moving_shapes
from mobileinst_d2.data.datasets.classes import COCO_CLASSES

__all__ = ["make_workspace"]

_CONFIG = "mobileinst/mobileinst_topformer-b_ytvis19.yaml"
_WEIGHTS = f"""
import torch
from mobileinst_d2.engine import load_predictor, setup_cfg
torch.manual_seed(1)
model = load_predictor(setup_cfg("{_CONFIG}")).model
torch.save({{"model": model.state_dict()}}, "WEIGHTS.pth")
"""


def make_workspace(root: Path, folder: Path) -> None:
    """Copy a checkout, with what is not committed, and add what its documents name.

    Args:
        root: the checkout.
        folder: a new folder.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
    shapes = make_moving_shapes(
        folder / "shapes", num_videos=6, num_val_videos=2, num_frames=4, height=64, width=96
    )
    _make_coco(shapes, folder / "datasets" / "coco")
    for name in ("ytvis_2019", "ytvis_2021"):
        _make_ytvis(shapes, folder / "datasets" / name)
    _make_own(shapes, folder)
    _make_video(shapes / "val" / "JPEGImages" / "00000", folder)
    _run("-c", _WEIGHTS, folder=folder)
    _run(
        *("tools/export.py", "--config-file", f"configs/{_CONFIG}", "--weights", "WEIGHTS.pth"),
        *("--size", "64", "128", "--format", "onnx", "--output", "exported"),
        # Random weights are sure of nothing; so objects are shown all the same.
        *("TEST.STREAMING.SCORE_ON", "0.05", "TEST.STREAMING.SCORE_OFF", "0.01"),
        folder=folder,
    )


def _run(*arguments: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", *arguments], cwd=folder, check=True)


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: dict | list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _make_coco(shapes: Path, folder: Path) -> None:
    """COCO 2017 with the shapes as its first classes."""
    ids = list(COCO_CLASSES)
    for split, name in (("train", "train2017"), ("val", "val2017")):
        content = _read(shapes / split / "coco.json")
        for annotation in content["annotations"]:
            annotation["category_id"] = ids[annotation["category_id"] - 1]
        content["categories"] = [{"id": i, "name": x} for i, x in COCO_CLASSES.items()]
        _write(folder / "annotations" / f"instances_{name}.json", content)
        shutil.copytree(shapes / split / "JPEGImages", folder / name)


def _make_ytvis(shapes: Path, folder: Path) -> None:
    """A YouTube-VIS likewise; the validation set has no annotations, as the public ones."""
    for split, name in (("train", "train"), ("val", "valid"), ("val", "test")):
        content = _read(shapes / split / "instances.json")
        names = THING_CLASSES[folder.name]
        content["categories"] = [{"id": i, "name": x} for i, x in enumerate(names, 1)]
        if split == "val":
            del content["annotations"]
        _write(folder / f"{name}.json", content)
        shutil.copytree(shapes / split / "JPEGImages", folder / name / "JPEGImages")


def _make_own(shapes: Path, folder: Path) -> None:
    """Annotations of one's own, ground truth and results to score."""
    for split, names in (("train", ("JPEGImages", "train")), ("val", ("val",))):
        for name in names:
            shutil.copytree(shapes / split / "JPEGImages", folder / "my" / name)
        shutil.copyfile(shapes / split / "instances.json", folder / "my" / f"{split}.json")
    truth = _read(shapes / "val" / "instances.json")
    _write(folder / "GT.json", truth)
    _write(folder / "valid.json", {k: v for k, v in truth.items() if k != "annotations"})
    keys = ("video_id", "category_id", "segmentations")
    found = [{**{key: x[key] for key in keys}, "score": 0.9} for x in truth["annotations"]]
    _write(folder / "RESULTS.json", found)
    _make_labels(truth, shapes / "val" / "JPEGImages", folder)
    own = {"NAME": "my_train", "FORMAT": "ytvis", "JSON": "my/train.json", "IMAGE_ROOT": "my/train"}
    config = {"_BASE_": "configs/mobileinst/base_ytvis.yaml", "MODEL": {"NUM_CLASSES": 4}}
    config["DATASETS"] = {"CUSTOM": [own], "TRAIN": ("my_train",), "TEST": ()}
    _write(folder / "my.yaml", config)  # JSON is YAML
    _write(folder / "frames.json", _frames_of_videos(_read(shapes / "train" / "instances.json")))


def _make_labels(truth: dict, images: Path, folder: Path) -> None:
    """Masks of object numbers beside their frames, and files of LabelMe, for the converters."""
    shutil.copytree(images, folder / "JPEGImages")
    shutil.copytree(images, folder / "my" / "videos")
    _write(folder / "classes.yaml", {"classes": ["shape"]})
    for video in truth["videos"]:
        size = (video["height"], video["width"])
        for frame, name in enumerate(video["file_names"]):
            numbers, shapes = np.zeros(size, np.uint8), []
            for track in truth["annotations"]:
                mask = track["segmentations"][frame]
                if track["video_id"] == video["id"] and mask is not None:
                    numbers[mask_util.decode(mask) > 0] = track["id"]
                    x, y, width, height = track["bboxes"][frame]
                    corners = [[x, y], [x + width, y + height]]
                    shape = {"label": f"shape-{track['id']}", "shape_type": "rectangle"}
                    shapes.append({**shape, "points": corners})
            masks = (folder / "Annotations" / name).with_suffix(".png")
            masks.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(masks), numbers)
            label = {"imageHeight": size[0], "imageWidth": size[1], "shapes": shapes}
            label["imagePath"] = Path(name).name
            _write((folder / "my" / "videos" / name).with_suffix(".json"), label)


def _frames_of_videos(videos: dict) -> dict:
    """A COCO file of frames, as annotation tools export tracks."""
    images, annotations = [], []
    for video in videos["videos"]:
        tracks = [x for x in videos["annotations"] if x["video_id"] == video["id"]]
        for frame, name in enumerate(video["file_names"]):
            size = {key: video[key] for key in ("height", "width")}
            images.append({"id": len(images) + 1, "file_name": name, **size})
            annotations += [
                {
                    "image_id": len(images),
                    "category_id": track["category_id"],
                    "segmentation": track["segmentations"][frame],
                    "attributes": {"track_id": track["id"]},
                }
                for track in tracks
                if track["segmentations"][frame] is not None
            ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    return {"images": images, "annotations": annotations, "categories": videos["categories"]}


def _make_video(frames: Path, folder: Path) -> None:
    """VIDEO.mp4, the folder frames, frame.jpg and image.jpg."""
    shutil.copytree(frames, folder / "frames")
    with VideoReader(str(frames)) as reader:
        pixels: list[np.ndarray] = list(reader)
    height, width = pixels[0].shape[:2]
    with VideoWriter(folder / "VIDEO.mp4", fps=10, size=(width, height)) as writer:
        for frame in pixels:
            writer.write(frame)
    for name in ("frame.jpg", "image.jpg"):
        cv2.imwrite(str(folder / name), pixels[0])
