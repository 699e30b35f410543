"""The demo with an exported model in place of a network."""

import json

import cv2
import pytest
from small_network import SIZE, build_small_network, small_config

from mobileinst_d2.export import export_model
from mobileinst_d2.utils.classes import save_class_names

NAMES, CATEGORY_IDS = ["ant", "bee", "cat", "dog"], [3, 5, 8, 13]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    save_class_names(folder, NAMES, CATEGORY_IDS)
    cfg = small_config(MODEL__WEIGHTS=str(folder / "model.pth"), TEST__SCORE_THRESHOLD=0.0)
    export_model(build_small_network(), cfg, SIZE, "ncnn", folder / "ncnn")
    return folder / "ncnn"


def test_videos_are_tracked_with_the_exported_names_and_category_ids(
    demo, folder, video, tmp_path, written
):
    output, results = tmp_path / "o.mp4", tmp_path / "r.json"
    arguments = ["--video-input", video, "--output", str(output), "--save-json", str(results)]
    arguments += ["--clip-len", "3", "--runtime", folder.name, "--confidence-threshold", "0"]
    assert demo.main(["--model", str(folder), *arguments]) == 0
    assert cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FRAME_COUNT) == 7
    tracks = json.loads(results.read_text())
    assert tracks
    assert {track["category_id"] for track in tracks} <= set(CATEGORY_IDS)
    assert written
    assert {text.split()[1] for text in written} <= set(NAMES)
