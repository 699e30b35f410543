"""What the demo writes about a video is what the evaluation of its data set writes."""

import json

import pytest
import torch
from annotation_files import custom_dataset
from tiny_models import build_lively_model, tiny_config

from mobileinst_core.tracking.offline import OfflineTracker
from mobileinst_core.ytvis.evaluate import evaluate_ytvis
from mobileinst_core.ytvis.moving_shapes import make_moving_shapes
from mobileinst_d2.engine.setup import setup_cfg
from mobileinst_d2.engine.trainer import Trainer
from mobileinst_d2.utils.classes import save_class_names

CATEGORY_IDS = (7, 20, 30, 45)


@pytest.fixture
def dataset(tmp_path):
    """Two videos, whose categories have ids with gaps."""
    folder = make_moving_shapes(
        tmp_path / "shapes", num_videos=1, num_val_videos=2, num_frames=7, height=64, width=96
    )
    path = folder / "val" / "instances.json"
    content = json.loads(path.read_text())
    new_ids = dict(zip((x["id"] for x in content["categories"]), CATEGORY_IDS, strict=True))
    for category in content["categories"]:
        category["id"] = new_ids[category["id"]]
    path.write_text(json.dumps(content | {"annotations": []}))
    return folder / "val"


def annotate(truth, results):
    """Make every third result an annotation, so that random weights are right now and then."""
    tracks = [{**entry, "id": i} for i, entry in enumerate(results[::3], 1)]
    content = json.loads(truth.read_text())
    truth.write_text(json.dumps(content | {"annotations": tracks}))


def test_results_are_those_of_the_evaluation(demo, dataset, tmp_path, monkeypatch):
    # One frame at a time, as the demo does; another batch size rounds differently.
    monkeypatch.setitem(OfflineTracker.__init__.__kwdefaults__, "chunk", 1)
    name = "demo_results"
    truth, images = dataset / "instances.json", dataset / "JPEGImages"
    cfg = tiny_config(
        TEST__TRACKING__CLIP_LEN=3,
        MODEL__WEIGHTS=str(tmp_path / "model.pth"),
        OUTPUT_DIR=str(tmp_path / "output"),
    )
    cfg.DATASETS.CUSTOM = [custom_dataset(dataset, name)]
    cfg.DATASETS.TEST = (name,)
    model = build_lively_model()
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    save_class_names(tmp_path, ["a", "b", "c", "d"], CATEGORY_IDS)
    config = tmp_path / "config.yaml"
    config.write_text(cfg.dump())

    merged = []
    for video in json.loads(truth.read_text())["videos"]:
        results = tmp_path / f"{video['id']}.json"
        folder = (images / video["file_names"][0]).parent
        arguments = ["--config-file", str(config), "--video-input", str(folder)]
        arguments += ["--save-json", str(results), "--video-id", str(video["id"])]
        # What is drawn, and from which score, is of no account.
        arguments += ["--output", str(tmp_path / "drawn/"), "--confidence-threshold", "0.9"]
        assert demo.main(arguments) == 0
        merged += json.loads(results.read_text())

    annotate(truth, merged)
    setup_cfg(str(config))  # registers the data set
    metrics = Trainer.test(cfg, model)["segm"]
    evaluated = json.loads((tmp_path / "output" / "inference" / "results.json").read_text())
    assert len(evaluated) > 10
    assert sum(mask is not None for e in evaluated for mask in e["segmentations"]) > 50
    assert merged == evaluated
    found = evaluate_ytvis(truth, merged).summary
    for key, value in found.items():
        assert value == pytest.approx(metrics[key], nan_ok=True)
    assert metrics["AP"] > 10
