"""What the demo writes about a video is what the evaluation of its data set writes."""

import json

import torch
from annotation_files import custom_dataset
from tiny_models import build_lively_model, tiny_config

from mobileinst_core.tracking.offline import OfflineTracker
from mobileinst_d2.engine.setup import setup_cfg
from mobileinst_d2.engine.trainer import Trainer
from mobileinst_d2.utils.classes import save_class_names


def test_results_are_those_of_the_evaluation(demo, moving_shapes, tmp_path, monkeypatch):
    # One frame at a time, as the demo does; another batch size rounds differently.
    monkeypatch.setitem(OfflineTracker.__init__.__kwdefaults__, "chunk", 1)
    folder = moving_shapes / "val"
    content = json.loads((folder / "instances.json").read_text())
    for entry in content["categories"] + content["annotations"]:  # ids with gaps
        key = "category_id" if "category_id" in entry else "id"
        entry[key] = 10 * entry[key] + 7
    truth = tmp_path / "instances.json"
    truth.write_text(json.dumps(content))
    cfg = tiny_config(
        TEST__TRACKING__CLIP_LEN=3,
        MODEL__WEIGHTS=str(tmp_path / "model.pth"),
        OUTPUT_DIR=str(tmp_path / "output"),
    )
    cfg.DATASETS.CUSTOM = [custom_dataset(folder, "demo_results", JSON=str(truth))]
    cfg.DATASETS.TEST = ("demo_results",)
    model = build_lively_model()
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    save_class_names(tmp_path, ["a", "b", "c", "d"], [17, 27, 37, 47])
    config = tmp_path / "config.yaml"
    config.write_text(cfg.dump())

    merged = []
    for video in content["videos"]:
        results = tmp_path / f"{video['id']}.json"
        frames = (folder / "JPEGImages" / video["file_names"][0]).parent
        arguments = ["--config-file", str(config), "--video-input", str(frames)]
        arguments += ["--save-json", str(results), "--video-id", str(video["id"])]
        # What is drawn, and from which score, is of no account.
        arguments += ["--output", str(tmp_path / "drawn/"), "--confidence-threshold", "0.9"]
        assert demo.main(arguments) == 0
        merged += json.loads(results.read_text())

    setup_cfg(str(config))  # registers the data set
    Trainer.test(cfg, model)
    evaluated = json.loads((tmp_path / "output" / "inference" / "results.json").read_text())
    assert len(evaluated) > 10
    assert sum(mask is not None for e in evaluated for mask in e["segmentations"]) > 50
    assert merged == evaluated
