"""A generated data set and a config."""

import cv2
import numpy as np
import pytest
from config_files import default_config

from mobileinst_d2.data.datasets.ytvis import load_ytvis_json


@pytest.fixture
def shape_records(moving_shapes):
    """Training video records of the small set."""
    root = moving_shapes / "train"
    return load_ytvis_json(root / "instances.json", root / "JPEGImages")


@pytest.fixture
def cfg():
    """Default config with small images, one process and no grouping."""
    cfg = default_config()
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (40,), 80
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 36, 80
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.ASPECT_RATIO_GROUPING = 0, False
    cfg.SOLVER.IMS_PER_BATCH, cfg.MODEL.NUM_CLASSES, cfg.SEED = 2, 4, 0
    return cfg


@pytest.fixture
def make_record(tmp_path):
    """Write the frames of a video as lossless files and describe them as a record."""

    def make(frames, tracks, video_id=1):
        """Args: frames (list of HxWx3 RGB), tracks ({id: (class, [mask or None])})."""
        from pycocotools import mask as mask_util

        names = []
        for number, frame in enumerate(frames):
            path = tmp_path / f"video_{video_id}" / f"{number:05d}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), frame[:, :, ::-1])
            names.append(str(path))
        height, width = frames[0].shape[:2]

        def encode(mask):
            return None if mask is None else mask_util.encode(np.asfortranarray(mask, np.uint8))

        return {
            "video_id": video_id,
            "height": height,
            "width": width,
            "length": len(frames),
            "file_names": names,
            "tracks": [
                {
                    "id": track_id,
                    "category_id": category,
                    "iscrowd": 0,
                    "segmentations": [encode(mask) for mask in masks],
                }
                for track_id, (category, masks) in tracks.items()
            ],
        }

    return make
