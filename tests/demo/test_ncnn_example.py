"""demo/ncnn, compiled, against the Python code with the same exported model."""

import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from annotation_files import change
from pycocotools import mask as mask_util

from mobileinst_core.runtime.model import ExportedModel


@pytest.fixture(scope="module")
def program(ncnn_build):
    return ncnn_build / "mobileinst_ncnn"


@pytest.fixture(scope="module")
def exported(exported_ncnn):
    return exported_ncnn


@pytest.fixture(scope="module")
def frame_folder(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    for number, frame in enumerate(frames, 3):  # to 12, so that 10 must come after 9
        cv2.imwrite(str(folder / f"frame{number}.ppm"), frame)
    return folder


def run(program, *arguments, **options):
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, **options)


# Of the example, in pixels of frames of this size: more than a line of its smallest font.
LABEL_HEIGHT = 20


def read_lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("clip_len", [None, 1, 3])
def test_tracks_as_the_python_code_does(
    program, exported, frames, frame_folder, tmp_path, clip_len
):
    arguments = [] if clip_len is None else ["--clip-len", clip_len]
    done = run(program, exported, frame_folder, tmp_path / "out", *arguments)
    assert done.returncode == 0, done.stderr.decode()

    overrides = [] if clip_len is None else ["TEST.TRACKING.CLIP_LEN", str(clip_len)]
    model = ExportedModel.load(exported, opts=overrides)
    tracker = model.online_tracker()
    lines = read_lines(tmp_path / "out")
    assert [line["frame"] for line in lines] == list(range(len(frames)))
    for line, frame in zip(lines, frames, strict=True):
        expected, found = tracker.step(frame), line["instances"]
        assert line["is_keyframe"] == tracker.is_keyframe
        assert [x["id"] for x in found] == expected.ids.tolist()
        assert [x["class"] for x in found] == expected.classes.tolist()
        assert [x["name"] for x in found] == [model.class_names[x["class"]] for x in found]
        assert [x["score"] for x in found] == pytest.approx(expected.scores.tolist(), abs=1e-3)
        for instance, mask in zip(found, expected.masks, strict=True):
            decoded = mask_util.decode(instance["segmentation"]).astype(bool)
            assert (decoded & mask).sum() > 0.99 * (decoded | mask).sum()
            rows, columns = np.nonzero(decoded)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert instance["box"] == box
    # Something came, went and changed its place.
    ids = [[x["id"] for x in line["instances"]] for line in lines]
    assert len({identity for frame in ids for identity in frame}) > len(ids[0])
    assert any(frame != sorted(frame) for frame in ids)


def test_draws_what_it_found(program, exported, frames, frame_folder, tmp_path):
    assert run(program, exported, frame_folder, tmp_path).returncode == 0
    fractions, num_untouched = [], 0
    for line, frame in zip(read_lines(tmp_path), frames, strict=True):
        drawn = cv2.imread(str(tmp_path / f"{line['frame']:06d}.ppm"))
        touched = np.zeros(frame.shape[:2], bool)
        label_rows = np.zeros(len(frame), bool)  # labels stand above boxes, or at the top
        for instance in line["instances"]:
            touched |= mask_util.decode(instance["segmentation"]).astype(bool)
            x0, y0, x1, y1 = instance["box"]
            touched[[y0, y1 - 1], x0:x1] = touched[y0:y1, [x0, x1 - 1]] = True
            top = max(0, y0 - LABEL_HEIGHT)
            label_rows[top : top + LABEL_HEIGHT] = True
        untouched = ~(touched | label_rows[:, None])
        num_untouched += untouched.sum()
        assert (drawn[untouched] == frame[untouched]).all()
        if touched.any():
            fractions.append((drawn != frame)[touched].any(axis=1).mean())
    assert num_untouched
    assert min(fractions) > 0.9
    # Labels stand on a dark ground.
    drawn = cv2.imread(str(tmp_path / "000000.ppm"))
    dark = [(image == 25).all(axis=2).sum() for image in (drawn, frames[0])]
    assert dark[0] > dark[1] + 100


def test_times_the_stages(program, exported, frame_folder, tmp_path):
    for source in ([], [frame_folder]):
        done = run(program, exported, *source, "--benchmark", 2, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        lines = done.stdout.decode().splitlines()
        assert lines[0].endswith("192x128, 1 thread(s), fp32")
        stages = ["prepare", "network", "association", "masks", "all"]
        assert lines[1].split() == ["median", "ms", "frames", *stages]
        rows = [
            line.removeprefix("key frames").removeprefix("others").split() for line in lines[2:4]
        ]
        for count, *milliseconds in rows:
            *parts, total = map(float, milliseconds)
            assert (count, len(parts)) == ("2", 4)
            assert 0 < parts[1] < total
    assert float(lines[4].split()[0]) > 0  # objects in the frames of the folder
    assert list(tmp_path.iterdir()) == []
    done = run(program, exported, frame_folder, tmp_path / "out", "--no-images")
    assert done.stdout.decode().startswith("median ms")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.jsonl"]


def test_reads_a_stream_of_images(program, exported, frames, frame_folder, tmp_path):
    stream = b"".join(cv2.imencode(".ppm", frame)[1].tobytes() for frame in frames)
    done = run(program, exported, "-", tmp_path / "stream", input=stream)
    assert done.returncode == 0, done.stderr.decode()
    assert run(program, exported, frame_folder, tmp_path / "folder").returncode == 0
    first, second = (read_lines(tmp_path / name) for name in ("stream", "folder"))
    assert [[x["id"] for x in line["instances"]] for line in first] == [
        [x["id"] for x in line["instances"]] for line in second
    ]


@pytest.fixture
def damaged(exported, tmp_path):
    """A copy of the exported folder, and its model.json to change."""
    folder = tmp_path / "damaged"
    shutil.copytree(exported, folder)
    return folder, json.loads((folder / "model.json").read_text())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("runtime", "onnx", "for ncnn"),
        ("input.shape", [1, 3, 128], "input.shape"),
        ("input.channels", "YUV", "input.channels"),
        ("input.pad_value", [1, 2, "x"], "input.pad_value"),
        ("thresholds.mask", 0, "thresholds.mask"),
        ("thresholds.streaming.score_on", KeyError, "'thresholds.streaming.score_on' is missing"),
        ("thresholds.tracking.mode", "ema", "prev"),
        ("class_names", "ant", "class_names"),
        ("class_names", ["ant"], "class_names"),
        ("graphs", {"image": {}}, "without the graph 'keyframe' and cannot track"),
        ("graphs.keyframe", KeyError, "without the graph 'keyframe' and cannot track"),
        ("graphs.reuse", KeyError, "without the graph 'reuse': it tracks with a clip length of 1"),
        ("graphs.keyframe.outputs.kernels.tensor", "nothing", "nothing"),
        ("graphs.keyframe.outputs.kernels.shape", [1, 9, 32], "kernels"),
        ("graphs.keyframe.outputs.scores.shape", [1, 9, 4], "scores"),
        ("graphs.reuse.outputs.mask_features.shape", [1, 16, 24], "mask_features"),
        ("graphs.reuse.inputs.image.tensor", "nothing", "nothing"),
        ("graphs.reuse.files", {"gone.param": "", "gone.bin": ""}, "gone.param"),
    ],
)
def test_names_what_is_wrong_in_the_manifest(
    program, damaged, frame_folder, tmp_path, path, value, message
):
    folder, manifest = damaged
    change(manifest, path, value)
    (folder / "model.json").write_text(json.dumps(manifest))
    done = run(program, folder, frame_folder, tmp_path / "out")
    assert done.returncode == 1
    error = done.stderr.decode()
    assert "error: " in error
    assert message in error


def test_a_folder_of_key_frames_alone_tracks_where_every_frame_is_one(
    program, exported, damaged, frame_folder, tmp_path
):
    folder, manifest = damaged
    del manifest["graphs"]["reuse"]
    (folder / "model.json").write_text(json.dumps(manifest))
    for name, model in (("expected", exported), ("found", folder)):
        done = run(program, model, frame_folder, tmp_path / name, "--clip-len", 1, "--no-images")
        assert done.returncode == 0, done.stderr.decode()
    assert any(line["instances"] for line in read_lines(tmp_path / "found"))
    assert read_lines(tmp_path / "found") == read_lines(tmp_path / "expected")
    done = run(program, folder, "--benchmark", 2, "--clip-len", 1)
    assert done.returncode == 0, done.stderr.decode()
    rows = [line.split()[:3] for line in done.stdout.decode().splitlines()[2:]]
    assert [rows[0], rows[1][1:]] == [["key", "frames", "2"], ["objects", "per"]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": }',
        '{"a": 1} x',
        '{"a": "',
        '{"a": nan}',
        '{"a": "\\x"}',
        '{"a": "\\ud800"}',
        "\0",
        10**5 * "[",
    ],
)
def test_refuses_what_is_no_json(program, damaged, frame_folder, tmp_path, text):
    folder, _ = damaged
    (folder / "model.json").write_text(text)
    done = run(program, folder, frame_folder, tmp_path / "out")
    assert done.returncode == 1
    assert b"model.json: not JSON" in done.stderr


def test_refuses_a_graph_that_is_cut_off(program, damaged, frame_folder, tmp_path):
    folder, _ = damaged
    weights = folder / "keyframe.ncnn.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = run(program, folder, frame_folder, tmp_path / "out")
    assert done.returncode == 1
    assert b"keyframe.ncnn.bin" in done.stderr


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "empty"),
        (b"P3\n1 1\n255\n0 0 0\n", "P6"),
        (b"P6\n4 4\n255\n" + bytes(47), "cut off"),
        (b"P6\n4 4\n65535\n" + bytes(96), "8 bits"),
        (b"P6\n0 4\n255\n", "sides"),
        (b"P6\n99999999999 4\n255\n", "sides"),
        (b"P6\nx", "sides"),
    ],
)
def test_names_the_image_that_is_wrong(program, exported, tmp_path, image, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ppm").write_bytes(image)
    done = run(program, exported, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 1
    assert "a.ppm" in done.stderr.decode()
    assert message in done.stderr.decode()


def test_takes_images_of_one_pixel_and_with_comments(program, exported, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ppm").write_bytes(b"P6 # one\n1\n# pixel\n1 255\n\x01\x02\x03")
    done = run(program, exported, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_lines(tmp_path / "out")) == 1


def test_explains_its_arguments(program, exported, frame_folder, tmp_path):
    done = run(program, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"usage" in done.stdout
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for arguments, message in (
        ([], "usage"),
        ([exported, frame_folder], "usage"),
        ([exported, frame_folder, "out", "--clip"], "--clip"),
        ([exported, frame_folder, "out", "--clip-len", "0"], "--clip-len"),
        ([exported, frame_folder, "out", "--threads"], "--threads"),
        ([exported, frame_folder, "out", "--benchmark", "2"], "one or two paths"),
        ([exported, "--benchmark"], "--benchmark"),
        ([exported, tmp_path / "gone", "out"], "gone"),
        ([exported, tmp_path / "empty", "out"], "no .ppm"),
        ([tmp_path / "gone", frame_folder, "out"], "tools/export.py"),
        ([exported, frame_folder, tmp_path / "file"], "file"),
    ):
        done = run(program, *arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert message in done.stderr.decode()
