"""The demo with an exported model in place of a network."""

import json

import cv2

NAMES, CATEGORY_IDS = ["ant", "bee", "cat", "dog"], [3, 5, 8, 13]


def test_videos_are_tracked_with_the_exported_names_and_category_ids(
    demo, folder, edit_manifest, video, tmp_path, written
):
    edit_manifest(lambda content: content.update(class_names=NAMES, category_ids=CATEGORY_IDS))
    output, results = tmp_path / "o.mp4", tmp_path / "r.json"
    arguments = ["--video-input", video, "--output", str(output), "--save-json", str(results)]
    arguments += ["--clip-len", "3", "--runtime", "ncnn", "--confidence-threshold", "0"]
    arguments += ["--opts", "TEST.SCORE_THRESHOLD", "0.0"]
    assert demo.main(["--model", str(folder), *arguments]) == 0
    assert cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FRAME_COUNT) == 7
    tracks = json.loads(results.read_text())
    assert tracks
    assert {track["category_id"] for track in tracks} <= set(CATEGORY_IDS)
    assert written
    assert {text.split()[1] for text in written} <= set(NAMES)
