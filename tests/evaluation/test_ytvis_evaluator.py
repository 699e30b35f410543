"""The evaluator inside Detectron2: its files, its metrics, several processes."""

import json
import logging
import math
import zipfile

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from pycocotools import mask as mask_util

from mobileinst_core.errors import UserError
from mobileinst_d2.evaluation import YTVISEvaluator, evaluate_ytvis

HEIGHT, WIDTH, LENGTH = 6, 8, 2
# Neither sorted nor beginning with 0 or 1.
CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "bird"}]
LABEL_OF = {3: 0, 7: 1}


def rle(rows) -> dict:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[:rows] = 1
    return mask_util.encode(mask)


def as_text(code) -> dict:
    return {**code, "counts": code["counts"].decode()}


def annotation(track_id, video_id, category_id, rows) -> dict:
    ids = {"id": track_id, "video_id": video_id, "category_id": category_id}
    return {**ids, "segmentations": [as_text(rle(n)) if n else None for n in rows]}


def ground_truth() -> dict:
    size = {"height": HEIGHT, "width": WIDTH, "length": LENGTH}
    return {
        "videos": [{"id": video_id, **size} for video_id in (9, 2)],
        "categories": CATEGORIES,
        "annotations": [annotation(1, 9, 7, (2, 0)), annotation(2, 2, 3, (3, 3))],
    }


def prediction(video_id, *tracks) -> dict:
    """Output of the predictor; ``tracks`` are (score, label, rows per frame)."""
    return {
        "video_id": video_id,
        "image_size": (HEIGHT, WIDTH),
        "length": LENGTH,
        "pred_scores": [score for score, _, _ in tracks],
        "pred_labels": [label for _, label, _ in tracks],
        "pred_ids": list(range(len(tracks))),
        "pred_rles": [[None if n is None else rle(n) for n in rows] for _, _, rows in tracks],
    }


PERFECT = {
    9: prediction(9, (0.9, 1, (2, 0)), (0.2, 0, (None, 6))),
    2: prediction(2, (0.8, 0, (3, 3))),
}


@pytest.fixture
def register(write_json):
    """Register a ground truth."""

    def registered(content, **metadata) -> str:
        MetadataCatalog.get("truth").set(json_file=str(write_json(content)), **metadata)
        return "truth"

    return registered


def evaluate(evaluator, predictions=PERFECT):
    """Through Detectron2's own loop."""
    loader = [[{"video_id": video_id}] for video_id in predictions]
    return inference_on_dataset(
        lambda inputs: [predictions[inputs[0]["video_id"]]], loader, evaluator
    )


def test_metrics_and_files(register, tmp_path):
    name = register(ground_truth(), thing_dataset_id_to_contiguous_id=LABEL_OF)
    output = tmp_path / "inference"
    metrics = evaluate(YTVISEvaluator(name, str(output)))["segm"]
    assert metrics["AP"] == metrics["AP-cat"] == metrics["AP-bird"] == pytest.approx(100)
    assert math.isnan(metrics["APl"])

    assert sorted(path.name for path in output.iterdir()) == ["results.json", "results.zip"]
    with zipfile.ZipFile(output / "results.zip") as archive:
        assert archive.namelist() == ["results.json"]
        assert archive.read("results.json") == (output / "results.json").read_bytes()
    results = json.loads((output / "results.json").read_text())
    # By video; dataset ids; text for masks and null for empty ones.
    assert [(r["video_id"], r["category_id"], r["score"]) for r in results] == [
        (2, 3, 0.8),
        (9, 7, 0.9),
        (9, 3, 0.2),
    ]
    assert results[1]["segmentations"] == [as_text(rle(2)), None]
    summary = evaluate_ytvis(ground_truth(), output / "results.json").summary
    assert summary == pytest.approx({key: metrics[key] for key in summary}, nan_ok=True)


def test_labels_follow_the_sorted_ids_when_the_metadata_do_not_say(register):
    assert evaluate(YTVISEvaluator(register(ground_truth())))["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("annotations", ["absent", None, []])
def test_without_annotations_only_the_files_are_written(register, tmp_path, caplog, annotations):
    content = ground_truth() | {"annotations": annotations}
    if annotations == "absent":
        del content["annotations"]
    with caplog.at_level(logging.INFO, logger="mobileinst_d2"):
        assert evaluate(YTVISEvaluator(register(content), str(tmp_path / "out"))) == {}
    assert (tmp_path / "out" / "results.zip").is_file()
    assert "results.zip to its evaluation server" in caplog.text


def test_videos_without_prediction_are_counted(register, caplog):
    evaluator = YTVISEvaluator(register(ground_truth()))
    assert evaluate(evaluator, {9: PERFECT[9]})["segm"]["AP"] == pytest.approx(50)
    assert "1 of the 2 videos" in caplog.text


def test_a_video_seen_twice_counts_once(register, caplog):
    evaluator = YTVISEvaluator(register(ground_truth()))
    for video_id in (9, 2, 9):
        evaluator.process([{"video_id": video_id}], [PERFECT[video_id]])
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(100)
    assert "1 videos were predicted more than once" in caplog.text


@pytest.mark.parametrize(
    ("video_id", "output", "error", "message"),
    [
        (9, prediction(9, (0.9, 2, (2, 0))), UserError, "predicts class 2, but the .* only 2; set"),
        (9, PERFECT[2], ValueError, "video 9 got the output of 2"),
        (9, prediction(9, (0.9, 1, (2,))), ValueError, "video 9 has 1 of 2 frames"),
        (5, prediction(5), ValueError, "has no video 5"),
    ],
    ids=["label", "other", "short", "unknown"],
)
def test_outputs_that_do_not_fit_are_refused(register, video_id, output, error, message):
    evaluator = YTVISEvaluator(register(ground_truth()))
    with pytest.raises(error, match=message):
        evaluator.process([{"video_id": video_id}], [output])


def test_a_data_set_without_json_file_is_refused():
    with pytest.raises(UserError, match="'unregistered' has no 'json_file'"):
        YTVISEvaluator("unregistered")
