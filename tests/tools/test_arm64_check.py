"""The comparison with an emulated ARM, and what it says where nothing can be emulated."""

import json

import arm64_check
import arm64_machine
import numpy as np
import pytest
from small_network import SIZE

from mobileinst_core.detections import Detections
from mobileinst_core.errors import UserError
from mobileinst_core.video.images import write_image


def detections(masks, scores, classes, ids):
    masks = np.asarray(masks, bool).reshape(len(scores), 1, -1)
    boxes = np.zeros((len(scores), 4), np.float32)
    arrays = np.float32(scores), np.int64(classes), np.int64(ids)
    return Detections(masks=masks, boxes=boxes, scores=arrays[0], classes=arrays[1], ids=arrays[2])


MASKS = [[1, 1, 1, 0], [0, 0, 1, 1]]
REFERENCE = detections(MASKS, [0.9, 0.8], [0, 1], [1, 2])


@pytest.mark.parametrize(
    ("found", "numbers", "fails"),
    [
        (REFERENCE, (2, 2, 0, 1.0, 0.0), False),
        # Another order is the same result; masks of which a third is missing are not.
        (REFERENCE[[1, 0]], (2, 2, 0, 1.0, 0.0), False),
        (
            detections([[0, 1, 1, 0], [0, 0, 1, 1]], [0.9, 0.7], [0, 1], [1, 2]),
            (2, 2, 0, 5 / 6, 0.1),
            True,
        ),
        # Another identity, one too many.
        (detections(MASKS, [0.9, 0.8], [0, 1], [1, 3]), (2, 1, 1, 1.0, 0.0), True),
        (
            detections([*MASKS, [1, 1, 1, 1]], [0.9, 0.8, 0.3], [0, 1, 0], [1, 2, 3]),
            (2, 2, 1, 1.0, 0.0),
            True,
        ),
    ],
)
def test_agreement_of_a_frame(found, numbers, fails):
    agreement = arm64_check.Agreement()
    agreement.add(REFERENCE, found)
    assert (agreement.objects, agreement.same, agreement.extra) == numbers[:3]
    assert np.mean(agreement.ious) == pytest.approx(numbers[3])
    assert agreement.score_difference == pytest.approx(numbers[4], abs=1e-6)
    assert agreement.fails("fp16") == fails


@pytest.fixture
def frames(tmp_path):
    generator = np.random.default_rng(0)
    for t in range(3):
        image = generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        write_image(tmp_path / "frames" / f"{t}.png", image)
    return tmp_path / "frames"


def test_says_what_is_missing(monkeypatch, capsys, frames, tmp_path):
    monkeypatch.setattr(arm64_machine.shutil, "which", lambda _: None)
    arguments = ["--model", str(tmp_path), "--video", str(frames), "--build", str(tmp_path / "b")]
    assert arm64_check.main(arguments) == 0
    assert capsys.readouterr().out.count("is left out") == 2


def test_the_wheel_gives_what_is_given_here(
    folder, edit_manifest, frames, repository, monkeypatch, tmp_path
):
    def show_everything(manifest):
        manifest["thresholds"]["streaming"].update(score_on=0.02, score_off=0.01)
        manifest["thresholds"]["tracking"]["clip_len"] = 2

    edit_manifest(show_everything)
    build = repository / "build" / "arm64"
    try:
        arm64_machine.Arm64Python(build / "python")
    except UserError as error:
        pytest.skip(str(error).splitlines()[0])
    # The C++ example is compared in tests/demo; ncnn takes minutes to compile.
    monkeypatch.setattr(arm64_machine, "CROSS_COMPILER", "no compiler")
    arguments = ["--model", str(folder), "--video", str(frames), "--build", str(build)]
    arm64_check.main([*arguments, "--json", str(tmp_path / "rows.json")])
    rows = {row["precision"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert rows["fp32"]["objects"] > 0
    assert rows["fp32"]["same"] == rows["fp32"]["objects"]
    assert rows["fp32"]["iou_min"] > 0.999
    # Half precision was used, and is no worse than that.
    assert 1e-5 < rows["fp16"]["output_difference"] < 0.1
    assert rows["fp32"]["output_difference"] < 1e-5
