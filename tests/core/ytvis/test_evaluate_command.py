"""The command and the checks of its input."""

import copy
import json
import logging
import zipfile

import pytest
from annotation_files import boxes_in, change, compressed

from mobileinst_core.ytvis.evaluate import main

HEIGHT, WIDTH, LENGTH = 6, 8, 3


def square(rows, height=HEIGHT, width=WIDTH) -> dict:
    return compressed(boxes_in((height, width))(0, 0, width, rows))


@pytest.fixture
def gt() -> dict:
    video = {"id": 4, "height": HEIGHT, "width": WIDTH, "length": LENGTH}
    video["file_names"] = [f"a/{frame}.jpg" for frame in range(LENGTH)]
    track = {"id": 1, "video_id": 4, "category_id": 7, "iscrowd": 0}
    track |= {"segmentations": [square(2), None, square(4)], "areas": [2 * WIDTH, None, 4 * WIDTH]}
    categories = [{"id": 7, "name": "cat"}, {"id": 2, "name": "bird"}]
    return {"videos": [video], "categories": categories, "annotations": [track]}


@pytest.fixture
def results(gt) -> list:
    segmentations = copy.deepcopy(gt["annotations"][0]["segmentations"])
    return [{"video_id": 4, "category_id": 7, "score": 0.5, "segmentations": segmentations}]


@pytest.fixture
def status(tmp_path):
    """Run the command on contents; returns its exit status."""

    def command(gt, results, *options) -> int:
        for name, content in (("gt", gt), ("results", results)):
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
        gt_file, results_file = str(tmp_path / "gt.json"), str(tmp_path / "results.json")
        return main(["--gt", gt_file, "--results", results_file, *options])

    return command


@pytest.fixture
def run(status, capsys):
    """Run the command on contents; returns the metrics that it prints."""

    def command(gt, results, *options) -> dict:
        assert status(gt, results, *options) == 0
        return json.loads(capsys.readouterr().out or "null")

    return command


def test_metrics_in_percent_and_null_where_undefined(run, gt, results):
    hundred = dict.fromkeys(("AP", "AP50", "AP75", "APs", "AR1", "AR10", "AR100"), 100)
    assert run(gt, results) == pytest.approx({**hundred, "APm": None, "APl": None})


def test_per_class_and_without_predictions(run, gt, results):
    per_class = run(gt, results, "--per-class")["per_class"]
    assert per_class == pytest.approx({"bird": None, "cat": 100})
    metrics = run(gt, [])
    assert (metrics["AP"], metrics["APl"]) == (0, None)


def test_out_writes_the_file_instead(run, gt, results, tmp_path):
    out = tmp_path / "new" / "metrics.json"
    assert run(gt, results, "--out", str(out)) is None
    assert json.loads(out.read_text())["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("videos.0.file_names", KeyError),
        ("videos.0.file_names", None),
        ("categories.0.name", KeyError),
        ("annotations.0.bboxes", [[0, 0], None]),
        ("annotations.0.category_id", 7.0),
        ("annotations.0.iscrowd", KeyError),
        ("annotations.0.areas", KeyError),
        ("videos.0.length", KeyError),
    ],
)
def test_the_metric_passes_over_what_it_does_not_read(run, gt, results, path, value):
    gt["annotations"][0]["bboxes"] = None
    change(gt, path, value)
    metrics = run(gt, results)
    assert metrics["AP"] == metrics["APs"] == pytest.approx(100)


@pytest.mark.parametrize("ids", [(0, 1), (1, 1), (-3, 2), (None, 1)])
def test_unusable_track_ids_are_numbered_anew_with_a_warning(run, gt, results, caplog, ids):
    other = copy.deepcopy(gt["annotations"][0]) | {"segmentations": [square(1)] * 2 + [None]}
    gt["annotations"].append(other)
    for annotation, track_id in zip(gt["annotations"], ids, strict=True):
        annotation["id"] = track_id
    results.append({**results[0], "segmentations": other["segmentations"]})
    with caplog.at_level(logging.WARNING):
        assert run(gt, results)["AP"] == pytest.approx(100)
    assert "1 of 2 track ids" in caplog.text


BAD_RESULTS = [
    ("0.video_id", 5, "entry number 0 .*belongs to video 5, which is missing in the annotation"),
    ("0.video_id", KeyError, "entry number 0 .*has no 'video_id'"),
    ("0.video_id", [4], r"entry number 0 .*belongs to video \[4\], which is missing"),
    ("0.category_id", 1, r"video 4.*has category_id 1, which is not in .*file \(2, 7\)"),
    ("0.category_id", "cat", "video 4.*has category_id 'cat', which is not in"),
    ("0.score", KeyError, "'score' must be a finite number"),
    ("0.score", float("nan"), "'score' must be a finite number"),
    ("0.score", True, "'score' must be a finite number"),
    ("0.score", 10**400, "'score' must be a finite number"),
    ("0.segmentations", KeyError, "entry number 0 .*has no 'segmentations'"),
    ("0.segmentations", [None] * 2, "video 4.*3 frames but 'segmentations' has 2 entries"),
    ("0.segmentations.2", square(2, WIDTH, HEIGHT), "frame 2: a mask has size"),
    ("0.segmentations.2.counts", square(2, 9, 9)["counts"], "frame 2: .*do not fill"),
    ("0.segmentations.2.counts", "P", "frame 2: .*not a compressed RLE"),
    ("0.segmentations.1", "mask", "frame 1: a mask must be polygons"),
    ("0", 3, "entry number 0 must be a mapping, got int"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_RESULTS)
def test_bad_results_are_refused(status, gt, results, path, value, message, fails):
    change(results, path, value)
    fails(f"results.json: {message}|results.json.*{message}", status, gt, results)


# Of the faults that its reader finds, see test_records.py, and those of the masks.
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("categories", KeyError, r"gt\.json: .*the annotation file has no 'categories'"),
        ("annotations.0.areas", [1, 2], r"gt\.json: .*annotation 1 of video 4.*'areas' has 2"),
        # That there is nothing to compare with is no fault of the file.
        ("annotations", KeyError, "has no annotations"),
        ("annotations", None, "has no annotations"),
        ("annotations", [], "has no annotations"),
    ],
)
def test_bad_ground_truth_is_refused(status, gt, results, path, value, message, fails):
    change(gt, path, value)
    fails(message, status, gt, results)


def test_unreadable_files_are_named(status, gt, results, tmp_path, fails):
    fails(r"results\.json is not valid JSON", status, gt, "[{")
    fails(r"results\.json must be a list", status, gt, {"results": []})
    arguments = ["--gt", str(tmp_path / "nowhere"), "--results", str(tmp_path / "results.json")]
    fails("nowhere", main, arguments)


@pytest.mark.parametrize("annotations", ["absent", None, []])
def test_an_archive_for_the_server_needs_no_annotations(run, gt, results, tmp_path, annotations):
    assert run(gt, results, "--zip", str(tmp_path / "a.zip"))["AP"] == pytest.approx(100)
    assert zipfile.is_zipfile(tmp_path / "a.zip")
    gt["annotations"] = annotations
    if annotations == "absent":
        del gt["annotations"]
    zero = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
    uncompressed = {"size": [HEIGHT, WIDTH], "counts": [0, *[2, 4] * WIDTH]}
    results[0] |= {"segmentations": [uncompressed, zero, {**square(4), "area": 32}], "id": 3}
    archive = tmp_path / "new" / "upload.zip"
    assert run(gt, results, "--zip", str(archive)) is None
    with zipfile.ZipFile(archive) as file:
        assert file.namelist() == ["results.json"]
        text = file.read("results.json").decode()
    segmentations = {"segmentations": [square(2), None, square(4)]}
    assert json.loads(text) == [{"video_id": 4, "category_id": 7, "score": 0.5, **segmentations}]
    assert " " not in text


def test_bad_results_make_no_archive(status, gt, results, tmp_path, fails):
    results[0]["segmentations"][0]["counts"] = "0123"
    fails(r"frame 0: .*do not fill", status, gt, results, "--zip", str(tmp_path / "a.zip"))
    assert not (tmp_path / "a.zip").exists()


def test_real_annotations_as_predictions_are_perfect(run, shared_data):
    content = json.loads(shared_data("davis_vis", "valid", "instances.json").read_text())
    keys = ("video_id", "category_id", "segmentations")
    results = [
        {**{key: track[key] for key in keys}, "score": 1 / track["id"]}
        for track in content["annotations"]
    ]
    metrics = run(content, results)
    assert [value for value in metrics.values() if value is not None] == pytest.approx([100] * 8)
