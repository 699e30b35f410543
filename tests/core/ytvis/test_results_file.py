"""When the results of a video are written, and when not."""

import json

import numpy as np
import pytest
from pycocotools import mask as mask_util

from mobileinst_core.tracking.offline import ChosenTrack
from mobileinst_core.video.images import DiskFullError, VideoIOError
from mobileinst_core.video.sources import StreamLostError
from mobileinst_core.ytvis.results_file import VideoResultsFile

MASK = mask_util.encode(np.asfortranarray(np.eye(4, 6, dtype=np.uint8)))


class Collector:
    """One track, visible in every frame that was predicted."""

    def __init__(self):
        self.frames = []

    def add(self, frame):
        self.frames.append(frame)

    def chosen(self, image_size, output_size):
        assert (image_size, output_size) == ((8, 12), (4, 6))
        rles = [None if frame is None else MASK for frame in self.frames]
        nothing = [None] * len(rles)
        yield ChosenTrack(0.75, 0, 3, iter([nothing]))
        # In parts, the first of them without a mask.
        yield ChosenTrack(np.float32(0.5), 1, 5, iter([rles[:1], rles[1:3], rles[3:]]))
        yield ChosenTrack(0.25, 0, 3, iter([nothing]))


@pytest.fixture
def results(tmp_path):
    return VideoResultsFile(tmp_path / "new" / "r.json", Collector(), 9, [10, 20], (4, 6))


def test_the_entries_are_those_of_the_evaluation_servers(results):
    with results:
        results.fill(1)
        results.add("frame", (8, 12))
        results.fill(1)  # is as long already
        results.fill(4)
    rle = {"size": [4, 6], "counts": MASK["counts"].decode()}
    entry = {"video_id": 9, "category_id": 20, "score": 0.5}
    entry["segmentations"] = [None, rle, None, None]
    assert json.loads(results.path.read_text()) == [entry]


@pytest.mark.parametrize(
    ("error", "written"),
    [
        (KeyboardInterrupt(), True),
        (StreamLostError("unplugged"), True),
        (DiskFullError("the disk is full"), True),
        (VideoIOError("the frame has another size"), False),
        (RuntimeError("out of memory"), False),
    ],
)
def test_what_was_done_is_written_unless_something_went_wrong(results, error, written):
    results.add("frame", (8, 12))
    with pytest.raises(type(error)), results:
        raise error
    assert results.path.exists() == written
