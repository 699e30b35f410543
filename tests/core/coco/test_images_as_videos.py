"""Images as videos of one frame, read by the rules of COCO files."""

import copy

from mobileinst_core.coco.videos import image_results_as_videos, images_as_videos
from mobileinst_core.ytvis.annotations import AnnotationFile

SQUARE = [2, 2, 10, 2, 10, 8, 2, 8]
CONTENT = {
    "categories": [{"id": 7, "name": "bee"}],
    "images": [
        {"id": number, "height": 12, "width": 16, "file_name": "a\\1.jpg"} for number in (4, 9)
    ],
    "annotations": [
        {"id": 0, "image_id": 9, "category_id": 7, "segmentation": [SQUARE]},
        {"id": 0, "image_id": 4, "category_id": 7, "segmentation": [[1, 2, 3, 4]], "iscrowd": None},
    ],
}


def test_what_the_reader_of_images_mends_is_sound_as_video():
    file = AnnotationFile(images_as_videos(copy.deepcopy(CONTENT)))
    assert [(video.id, video.file_names) for video in file.videos.values()] == [
        (4, ["a/1.jpg"]),
        (9, ["a/1.jpg"]),
    ]
    tracks = {track["video_id"]: track for _, track in file.tracks()}
    assert list(tracks) == [9]  # the other has neither a mask nor a box
    assert tracks[9]["areas"] == [48]
    assert tracks[9]["iscrowd"] == 0


def test_images_without_ground_truth_are_videos_without():
    assert not AnnotationFile(images_as_videos({**CONTENT, "annotations": None})).has_tracks


def test_results_that_are_no_mappings_are_left_to_their_reader():
    assert image_results_as_videos([None, {"image_id": 4, "segmentation": []}]) == [
        None,
        {"video_id": 4, "category_id": None, "score": None, "segmentations": [None]},
    ]
