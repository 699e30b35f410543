"""Run lengths read as arrays: the same content, or what the JSON parser says of the file."""

import json

import numpy as np
import pytest
from annotation_files import make_content, run_lengths
from pycocotools import mask as mask_util

from mobileinst_core.errors import UserError
from mobileinst_core.files import read_json
from mobileinst_core.ytvis.reading import read_tracks_json
from mobileinst_core.ytvis.records import load_records

SIZE = [40, 60]


def lists_of(rng: np.random.Generator) -> list[int]:
    return run_lengths((rng.random(SIZE) < rng.choice([0.05, 0.5])).astype(np.uint8))


def content_of(masks: list) -> dict:
    content = make_content()
    content["videos"][0] |= {"height": SIZE[0], "width": SIZE[1]}
    content["annotations"] = [
        {**content["annotations"][0], "id": number, "segmentations": masks[start : start + 3]}
        for number, start in enumerate(range(0, len(masks), 3), start=1)
    ]
    return content


def plain(value):
    """With lists in place of arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def arrays_in(content) -> int:
    masks = [mask for track in content["annotations"] for mask in track["segmentations"]]
    return sum(isinstance(mask and mask["counts"], np.ndarray) for mask in masks)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,", " :")])
@pytest.mark.parametrize("indent", [None, 2])
def test_content_is_that_of_the_file(tmp_path, separators, indent):
    rng = np.random.default_rng(0)
    masks = [{"size": SIZE, "counts": lists_of(rng)} for _ in range(300)]
    masks[4], masks[7]["counts"] = None, []
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content_of(masks), separators=separators, indent=indent))
    content = read_tracks_json(path)
    assert plain(content) == read_json(path)
    assert arrays_in(content) in ((298,) if separators[0][0] == "," else (0, 298))


def test_masks_and_errors_are_those_of_lists(tmp_path):
    rng = np.random.default_rng(1)
    lists = [{"size": SIZE, "counts": lists_of(rng)} for _ in range(27)]
    first, second, *rest = lists[3]["counts"]
    lists[3]["counts"] = [0, first, 0, second, *rest]  # an empty run between two others
    mixed = [dict(mask) for mask in lists]
    for mask in mixed[5:25:4]:
        mask["counts"] = mask_util.frPyObjects([mask], *SIZE)[0]["counts"].decode()
    path = tmp_path / "a.json"
    found = []
    for masks in (lists, mixed):
        path.write_text(json.dumps(content_of(masks)))
        found.append(load_records(path, "")[0][0]["tracks"])
    assert found[0] == found[1]
    flat = [rle for track in found[0] for rle in track["segmentations"]]
    expected = [mask_util.decode(code) for code in mask_util.frPyObjects(lists, *SIZE)]
    for rle, mask in zip(flat, expected, strict=True):
        np.testing.assert_array_equal(mask_util.decode(rle), mask)
    lists[13]["counts"][-1] += 1
    path.write_text(json.dumps(content_of(lists)))
    with pytest.raises(UserError, match="annotation 5 of video 70, frame 1: the RLE"):
        load_records(path, "")


def write_counts(folder, counts):
    """Files in which one of three masks has such counts, first and between others."""
    masks = [{"size": SIZE, "counts": "#"}, {"size": SIZE, "counts": [2400]}, None]
    for number, order in enumerate((masks, masks[1::-1] + masks[1:])):
        path = folder / f"{number}.json"
        path.write_text(json.dumps(content_of(order)).replace('"#"', counts))
        yield path


@pytest.mark.parametrize(
    "counts",
    ["[5, -3]", "[1.5, 2]", "[1, null]", '["1", 2]', "[[1, 2]]", "[true]", "17", "{}", "null"]
    + ["[1e2]", "[-0, 2400]", "[2147483648]", "[123456789012345678901234567890]"]
    + ["[ ]", "[\n]", "[5]"],
)
def test_what_is_no_plain_list_is_left_to_the_parser(tmp_path, counts):
    for path in write_counts(tmp_path, counts):
        assert plain(read_tracks_json(path)) == read_json(path)


@pytest.mark.parametrize(
    "counts",
    ["[1,,2]", "[,1]", "[1,]", "[1, ]", "[1, ,2]", "[01, 2]", "[1 2]", "[+1]", "[-, 1]", "[1, 00]"]
    + ["[1\f, 2]", "[\v1, 2]", "[1"],
)
def test_what_is_no_json_is_refused(tmp_path, counts):
    for path in write_counts(tmp_path, counts):
        with pytest.raises(UserError, match="not valid JSON"):
            read_tracks_json(path)


def test_the_word_in_other_places(tmp_path):
    content = content_of([{"size": SIZE, "counts": [2400]}] * 3)
    content["info"] = {"counts": [1, 2], 'text "counts": [3]': 'and "counts": [4]', "x": "counts"}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert plain(read_tracks_json(path)) == content
    del content["info"]["counts"]
    path.write_text(json.dumps(content))
    found = read_tracks_json(path)
    assert plain(found) == content
    assert arrays_in(found) == 3


@pytest.mark.parametrize("key", [r"\u0063ounts", r"coun\u0074\u0073"])
@pytest.mark.parametrize("counts", ["0", "[2400]", '"text"'])
def test_an_escaped_key_is_the_same_key(tmp_path, key, counts):
    """Its 0 was taken for the number of a list that is elsewhere."""
    content = content_of([{"size": SIZE, "#": "#"}, None, None])
    content["info"] = {"counts": [7, 3, 2390]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content).replace('"#": "#"', f'"{key}": {counts}'))
    assert plain(read_tracks_json(path)) == read_json(path)


def test_results_are_read_as_well(tmp_path):
    entries = [{"video_id": 1, "segmentations": [{"size": SIZE, "counts": [7, 3, 2390]}, None]}]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    (entry,) = read_tracks_json(path)
    assert entry["segmentations"][0]["counts"].tolist() == [7, 3, 2390]
    assert entry["segmentations"][1] is None
