"""Which files the demo reads and writes."""

import os
from pathlib import Path

import pytest

from mobileinst_core.video.file_args import (
    check_targets,
    expand_inputs,
    image_targets,
    video_source,
    video_target,
)
from mobileinst_core.video.images import VideoIOError


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Work in a folder with a few empty files; relative paths keep the tests readable."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "pics/p1.png", "pics/p10.png", "pics/p2.png", "pics/x.txt", "v.mp4"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


def names(paths):
    return [path.as_posix() for path in paths]


def test_files_folders_and_globs_become_one_list():
    assert names(expand_inputs(["a.jpg", "pics"])) == [
        "a.jpg",
        "pics/p1.png",
        "pics/p2.png",
        "pics/p10.png",
    ]
    assert names(expand_inputs(["pics/*1*.png"])) == ["pics/p1.png", "pics/p10.png"]


@pytest.mark.parametrize("text", ["gone.jpg", "gone/*.jpg", "pics/*.jpg"])
def test_inputs_that_match_nothing_are_named(text):
    with pytest.raises(VideoIOError, match=r"--input .*no such image"):
        expand_inputs([text])


def test_one_image_can_have_a_name_of_its_own():
    assert names(image_targets([Path("a.jpg")], "new/b.png", overwrite=False)) == ["new/b.png"]


@pytest.mark.parametrize("output", ["out", "out/", "out.d/", "pics"])
def test_folders_keep_the_names_of_the_inputs(output):
    targets = image_targets([Path("a.jpg"), Path("b.gif")], output, overwrite=False)
    assert targets == [Path(output, "a.jpg"), Path(output, "b.png")]


def test_equal_names_from_two_folders_stay_apart():
    paths = [Path("x/a.jpg"), Path("y/a.jpg"), Path("z/a.jpg"), Path("a_2.jpg")]
    targets = image_targets(paths, "out", overwrite=False)
    assert len(set(targets)) == 4
    assert names(targets)[:2] == ["out/a.jpg", "out/a_2.jpg"]


def test_inputs_are_never_replaced():
    for output in ("a.jpg", "."):
        with pytest.raises(VideoIOError, match="would replace the input"):
            image_targets([Path("a.jpg")], output, overwrite=True)
    for output in ("v.mp4", ".", os.path.abspath("v.mp4")):
        targets = {"--output": video_target("v", output)}
        with pytest.raises(VideoIOError, match=r"--output would replace the input v\.mp4"):
            check_targets("v.mp4", targets)
    for source in ("pics", [Path("pics/p1.png")]):
        with pytest.raises(VideoIOError, match="--save-masks would replace the input pics"):
            check_targets(source, {"--output": Path("o.mp4"), "--save-masks": Path("pics")})
    with pytest.raises(VideoIOError, match="--save-json would replace the input"):
        check_targets([Path("pics/p1.png")], {"--save-json": Path("pics/../pics/p1.png")})


def test_outputs_do_not_replace_each_other():
    check_targets(0, {"--output": Path("o"), "--save-json": None, "--save-masks": Path("p")})
    with pytest.raises(VideoIOError, match="--save-masks would replace the output o"):
        check_targets(0, {"--output": Path("o"), "--save-masks": Path("pics/../o")})


def test_video_goes_to_a_file_or_into_a_folder():
    assert video_target("v", "b.avi") == Path("b.avi")
    assert video_target("v", "out") == Path("out/v.mp4")
    assert video_target("v", "pics") == Path("pics/v.mp4")
    assert video_target("camera0", "out/") == Path("out/camera0.mp4")


@pytest.mark.parametrize("text", ["v.mp4", "pics", "rtsp://host/a?b=*", "gone.mp4", "gone*.mp4"])
def test_one_video_folder_or_address_stays_as_it_is(text):
    assert video_source([text]) == text
    assert video_source(["?.mp4"]) == "v.mp4"


@pytest.mark.parametrize(
    "inputs",
    [
        ["pics/*.png"],
        ["pics/p10.png", "pics/p1.png", "pics/p2.png"],
        ["pics/p?.png", "pics/p10.png"],
    ],
)
def test_images_are_the_frames_of_one_video_in_natural_order(inputs):
    assert names(video_source(inputs)) == ["pics/p1.png", "pics/p2.png", "pics/p10.png"]
    assert names(video_source(["?.jpg"])) == ["a.jpg"]


def test_frames_of_several_folders_stay_together():
    for name in ("b10/1.png", "b9/2.png", "b9/1.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert names(video_source(["b*/*.png"])) == ["b9/1.png", "b9/2.png", "b10/1.png"]


def test_several_inputs_must_be_existing_images():
    with pytest.raises(VideoIOError, match="and alone"):
        video_source(["v.mp4", "v.mp4"])
    with pytest.raises(VideoIOError, match=r"--video-input gone\.jpg: no such image"):
        video_source(["a.jpg", "gone.jpg"])
