"""Splits by video: deterministic, complete, and with every category in both parts if possible."""

import copy
import itertools
import random

import pytest
from annotation_files import HEIGHT, WIDTH, compressed, square_mask

from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.split import split_videos

MASK = compressed(square_mask())


def make(*categories_per_video, **changes):
    """A file whose videos show the given categories, such as make("ab", "a", "")."""
    names = "abcdefgh"
    size = {"height": HEIGHT, "width": WIDTH, "length": 1}
    videos = [
        {"id": 10 + number, "file_names": [f"video{number}/0.jpg"], "extra": number, **size}
        for number in range(len(categories_per_video))
    ]
    tracks = [
        {"id": 1000 + number, "video_id": 10 + video, "category_id": 1 + names.index(name)}
        | {"segmentations": [MASK], **changes}
        for number, (video, name) in enumerate(
            (video, name) for video, shown in enumerate(categories_per_video) for name in shown
        )
    ]
    categories = [{"id": i, "name": n, "supercategory": "x"} for i, n in enumerate(names, start=1)]
    return {"info": 1, "videos": videos, "categories": categories, "annotations": tracks}


def ids(part):
    return {video["id"] for video in part["videos"]}


def shown(part):
    return {track["category_id"] for track in part["annotations"]}


def random_content(seed, count=30):
    rng = random.Random(seed)
    return make(*("".join(rng.sample("abcdefgh", rng.randint(0, 3))) for _ in range(count)))


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_disjoint_and_complete_and_entries_unchanged(seed):
    content = random_content(seed)
    before = copy.deepcopy(content)
    train, val = split_videos(content, val_fraction=0.3, seed=seed)
    assert content == before
    assert not ids(train) & ids(val)
    assert len(val["videos"]) == 9
    for key in ("videos", "annotations"):
        joined = sorted(train[key] + val[key], key=lambda entry: entry["id"])
        assert joined == content[key]
        for part in (train, val):
            assert part[key] == [entry for entry in content[key] if entry in part[key]]
    for part in (train, val):
        assert part["categories"] == content["categories"]
        assert part["info"] == 1
        assert {track["video_id"] for track in part["annotations"]} <= ids(part)


def test_validation_grows_no_more_than_categories_need():
    content = make("a", "a", "b", "b", "ab", "ab", "ab", "ab", "ab", "ab")
    _, val = split_videos(content, val_fraction=0.01)
    assert len(val["videos"]) == 1
    _, val = split_videos(make(*"aabbccdd"), val_fraction=0.1)
    assert shown(val) == {1, 2, 3, 4}
    assert len(val["videos"]) == 4


def test_a_category_of_one_video_stays_in_training_if_there_is_a_choice():
    for seed in range(10):
        _, val = split_videos(make("ab", "a", "a", "a", "a"), val_fraction=0.8, seed=seed)
        assert 2 not in shown(val)


def test_what_cannot_be_in_both_is_reported(caplog):
    # Whichever video goes, the other two lose the last pair of something.
    train, val = split_videos(make("ab", "ac", "bc"))
    assert shown(train) == {1, 2, 3}
    assert "Validation has no video with: " in caplog.text
    assert len(val["videos"]) == 1


@pytest.mark.parametrize("folder", ["video{}", "all"])
def test_seeds_differ_also_for_videos_in_one_folder(folder):
    content = make(*["a"] * 12)
    for number, video in enumerate(content["videos"]):
        video["file_names"] = [f"{folder.format(number)}/{number:02d}.jpg"]
    parts = {frozenset(ids(split_videos(content, seed=seed)[1])) for seed in range(6)}
    assert len(parts) > 1


@pytest.mark.parametrize("changes", [{"iscrowd": 1}, {"segmentations": [None]}])
def test_crowds_and_invisible_tracks_do_not_count(changes):
    content = make("a", "a", "b", "b")
    for track in content["annotations"][2:]:
        track.update(changes)
    _, val = split_videos(content, val_fraction=0.1)
    assert len(val["videos"]) == 1
    assert shown(val) == {1}


@pytest.mark.parametrize("number", [2, 3, 6, 9])
def test_max_videos(number):
    content = make("a", "b", "c", "d", "ab", "cd", "", "", "", "")
    train, val = split_videos(content, max_videos=number)
    assert len(train["videos"]) + len(val["videos"]) == number
    assert train["videos"]
    assert val["videos"]
    if number == 6:
        assert shown(train) == shown(val) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (make("a", "a"), {"val_fraction": 1.0}, "between 0 and 1, not 1.0"),
        (make("a", "a"), {"val_fraction": 0.0}, "between 0 and 1"),
        (make("a", "a"), {"max_videos": 1}, "1 videos cannot be split"),
        (make("a"), {}, "only one video"),
        (make("", ""), {}, "no annotations"),
        ({"videos": {}}, {}, "YouTube-VOS"),
        (make("a", "a", category_id=9), {}, "annotation 1000 has category_id 9"),
    ],
)
def test_bad_input_is_refused(content, options, message):
    with pytest.raises(UserError, match=message):
        split_videos(content, **options)


def test_small_sets_are_split_whenever_that_is_possible():
    """Against all partitions: no category of two videos is missed that need not be."""
    rng = random.Random(0)
    for _ in range(60):
        rows = ["".join(rng.sample("abcd", rng.randint(0, 2))) for _ in range(5)]
        if not any(rows):
            continue
        train, val = split_videos(make(*rows), val_fraction=0.2)
        shared = {"abcdefgh".index(c) + 1 for c in "abcd" if sum(c in row for row in rows) > 1}
        possible = any(
            all(
                sum(c in rows[i] for i in chosen) and sum(c in rows[i] for i in rest)
                for c in ("abcdefgh"[key - 1] for key in shared)
            )
            for size in range(1, 5)
            for chosen in itertools.combinations(range(5), size)
            for rest in [set(range(5)) - set(chosen)]
        )
        assert (shared <= shown(train) & shown(val)) == possible, rows
