"""Images as videos of one frame, read by the rules of COCO files."""

import pytest
from coco_content import make_content

from mobileinst_core.coco.videos import image_results_as_videos, images_as_videos
from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.annotations import AnnotationFile


def test_what_the_reader_of_images_mends_is_sound_as_video():
    content = make_content()
    for annotation in content["annotations"]:
        annotation |= {"id": 0, "iscrowd": None, "area": None, "bbox": None}
    content["annotations"][1]["segmentation"] = [[1, 2, 3, 4]]
    file = AnnotationFile(images_as_videos(content))
    videos = {video.id: video.file_names for video in file.videos.values()}
    assert videos == {4: ["a/4.jpg"], 9: ["b/9.jpg"]}
    ((_, track),) = file.tracks()  # the other has neither a mask nor a box
    assert (track["video_id"], track["areas"], track["iscrowd"]) == (9, [48], 0)
    assert not AnnotationFile(images_as_videos({**content, "annotations": None})).has_tracks


def test_results_of_boxes_alone_are_refused():
    entry = {"image_id": 4, "category_id": 2, "score": 0.5, "bbox": [1, 2, 3, 4]}
    (found,) = image_results_as_videos([{**entry, "segmentation": None}])
    assert (found["video_id"], found["segmentations"]) == (4, [None])
    with pytest.raises(UserError, match=r"entry number 0 \(image 4\) has no 'segmentation'"):
        image_results_as_videos([entry])
