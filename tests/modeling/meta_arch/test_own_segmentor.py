"""The network of docs/architecture.md: one of a user's own, at stride 4 and at stride 8."""

import json
import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from annotation_files import compressed, custom_dataset
from config_files import default_config
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from model_inputs import clip_input, image_input
from pycocotools import mask as mask_util
from torch import nn

from mobileinst_core import demo
from mobileinst_d2.engine import Trainer, setup_cfg
from mobileinst_d2.export import ExportedModel, export_model
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor
from mobileinst_d2.utils.classes import save_class_names

REPOSITORY = Path(__file__).resolve().parents[3]
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
HEIGHT, WIDTH, FRAMES = 64, 96, 5


def documented_class() -> type:
    """The class that the document defines."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(source.splitlines()) < 40
    namespace = {}
    exec(source, namespace)
    return namespace["ColorSegmentor"]


ColorSegmentor = documented_class()


def config() -> CfgNode:
    cfg = default_config()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.NUM_CLASSES = "ColorSegmentor", 3
    cfg.MODEL.PIXEL_MEAN = cfg.MODEL.PIXEL_STD = [127.5] * 3
    cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = "RGB", HEIGHT, WIDTH
    cfg.TEST.TRACKING.CLIP_LEN = 3
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    return cfg


def build(cfg: CfgNode) -> nn.Module:
    """A network whose channels are the colours, and whose kernel n picks the n-th."""
    model = build_model(cfg).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for n in range(3):
            model.features.weight[n, n] = 1 / model.stride**2
            model.kernels.bias[9 * n] = 8.0
            model.classes.weight[:, n] = -0.5
            model.classes.weight[n, n] = 0.5
    return model


def box(name: str, time: int) -> tuple[slice, slice]:
    """Where a rectangle is: red moves to the right, green stays, and there is no blue one."""
    left, top = {"red": (8 * time, 8), "green": (56, 24)}[name]
    return slice(top, top + 16 if name == "red" else top + 32), slice(left, left + 24)


def frame(time: int) -> np.ndarray:
    """(H, W, 3), RGB; the green rectangle lies above the red one."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for name in ("red", "green"):
        pixels[box(name, time)] = COLORS[name]
    return pixels


def truth(name: str, time: int) -> np.ndarray:
    return (frame(time) == COLORS[name]).all(2)


def iou(mask: np.ndarray, other: np.ndarray) -> float:
    return (mask & other).sum() / (mask | other).sum()


def tensor(time: int) -> torch.Tensor:
    return torch.from_numpy(frame(time)).permute(2, 0, 1)


def assert_right(instances, time: int) -> None:
    assert sorted(instances.pred_classes.tolist()) == [0, 1]
    for label, mask in zip(instances.pred_classes.tolist(), instances.pred_masks, strict=True):
        # Only corners are rounded.
        assert iou(mask.numpy(), truth(list(COLORS)[label], time)) > 0.95


@pytest.fixture(params=[4, 8])
def cfg(request, monkeypatch):
    monkeypatch.setattr(ColorSegmentor, "stride", request.param)
    assert build(config()).mask_stride == request.param
    return config()


def test_it_trains_on_images_and_clips(cfg):
    model = build_model(cfg).train()
    rectangles = [(8, 8, 40, 40)]
    for batch in (
        [image_input()],
        [clip_input([rectangles, rectangles])],
        [image_input(objects=0)],
    ):
        losses = model(batch)
        assert losses["loss_mask"].isfinite()
        losses["loss_mask"].backward()
    assert model.features.weight.grad.abs().sum() > 0


def test_videos_are_tracked(cfg):
    result = VideoPredictor(cfg, build(cfg)).predict(map(tensor, range(FRAMES)), (HEIGHT, WIDTH))
    assert sorted(result["pred_labels"]) == [0, 1]
    for label, rles in zip(result["pred_labels"], result["pred_rles"], strict=True):
        for time, rle in enumerate(rles):
            mask = mask_util.decode(rle).astype(bool)
            assert iou(mask, truth(list(COLORS)[label], time)) > 0.95


def test_streams_are_tracked(cfg):
    stream = StreamingPredictor(cfg, build(cfg))
    for time in range(FRAMES):
        instances = stream.step(frame(time)[:, :, ::-1])
        assert_right(instances, time)
        assert dict(zip(instances.pred_classes.tolist(), instances.ID, strict=True)) == {0: 1, 1: 2}


def test_it_is_exported_with_its_stride(cfg, tmp_path):
    manifest = export_model(build(cfg), cfg, (HEIGHT, WIDTH), "ncnn", tmp_path / "exported")
    assert (manifest.mask_stride, manifest.mask_upsampling) == (build(cfg).stride, 1)
    exported = ExportedModel.load(tmp_path / "exported")
    assert_right(exported([{"image": tensor(2)}])[0]["instances"], 2)
    deployed = cfg.clone()
    deployed.INPUT.FIXED_SIZE_TEST = (HEIGHT, WIDTH)
    stream = StreamingPredictor(deployed, exported)
    for time in range(FRAMES):
        assert_right(stream.step(frame(time)[:, :, ::-1]), time)


@pytest.fixture
def files(cfg, tmp_path):
    """A config file with weights, and a data set of one video."""
    frames = tmp_path / "JPEGImages" / "video"
    frames.mkdir(parents=True)
    names = [f"video/{time}.png" for time in range(FRAMES)]
    for time, name in enumerate(names):
        cv2.imwrite(str(tmp_path / "JPEGImages" / name), frame(time)[:, :, ::-1])
    annotations = []
    for number, name in enumerate(("red", "green"), 1):
        rles = [compressed(truth(name, t)) for t in range(FRAMES)]
        ids = {"id": number, "video_id": 1, "category_id": number}
        annotations.append({**ids, "segmentations": rles})
    video = {"id": 1, "height": HEIGHT, "width": WIDTH, "length": FRAMES, "file_names": names}
    categories = [{"id": n, "name": name} for n, name in enumerate(COLORS, 1)]
    content = {"videos": [video], "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))

    save_class_names(tmp_path, list(COLORS), [1, 2, 3])
    torch.save({"model": build(cfg).state_dict()}, tmp_path / "model.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    name = f"colors_{ColorSegmentor.stride}"
    cfg.DATASETS.CUSTOM = [custom_dataset(tmp_path, name)]
    cfg.DATASETS.TEST = (name,)
    cfg.DATALOADER.NUM_WORKERS = 0
    (tmp_path / "config.yaml").write_text(cfg.dump())
    return tmp_path


def test_it_is_evaluated_and_shown(files, monkeypatch):
    cfg = setup_cfg(files / "config.yaml")
    assert Trainer.test(cfg, build(cfg))["segm"]["AP"] > 95

    monkeypatch.setattr(demo, "set_up_logging", lambda: None)
    monkeypatch.setattr(logging.getLogger("mobileinst_d2"), "propagate", True)
    arguments = ["--config-file", str(files / "config.yaml")]
    arguments += ["--video-input", str(files / "JPEGImages" / "video")]
    arguments += ["--output", str(files / "out.mp4"), "--save-json", str(files / "out.json")]
    assert demo.main(arguments) == 0
    assert cv2.VideoCapture(str(files / "out.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    tracks = json.loads((files / "out.json").read_text())
    assert sorted(track["category_id"] for track in tracks) == [1, 2]


def test_images_have_the_channels_of_the_pixel_mean():
    cfg = config()
    cfg.MODEL.PIXEL_MEAN = cfg.MODEL.PIXEL_STD = [127.5] * 4
    model = build_model(cfg)
    images = model.preprocess_image([{"image": torch.zeros(4, HEIGHT, WIDTH)}])
    assert images.tensor.shape[1] == 4
    with pytest.raises(ValueError, match=r"\(4, H, W\).*shape \(3, 64, 96\)"):
        model.preprocess_image([{"image": torch.zeros(3, HEIGHT, WIDTH)}])
