"""What the validation of COCO files finds beyond what their reader refuses."""

import re

import cv2
import numpy as np
import pytest
from annotation_files import HEIGHT, WIDTH, change, compressed
from coco_content import make_content
from PIL import Image

from mobileinst_core.coco.validation import check_content, check_images


@pytest.fixture
def content():
    content = make_content()
    for image, name in zip(content["images"], ("b.png", "a.png"), strict=True):
        image["file_name"] = name
    return content


def test_a_sound_file_has_no_findings(content):
    findings, images = check_content(content)
    assert findings == []
    assert {image.file_name for image in images} == {"a.png", "b.png"}


EMPTY = compressed(np.zeros((HEIGHT, WIDTH), np.uint8))


@pytest.mark.parametrize(
    ("path", "value", "message", "is_error"),
    [
        ("annotations.0.id", 0, "annotation 0: pycocotools never matches", False),
        ("annotations.0.bbox", [0, 0, 0, 0], r"5 of image 9.*the box is \[0", False),
        ("annotations.0.area", 900, "5 of image 9.*the area is 900", False),
        ("annotations.0.segmentation", EMPTY, "its mask has no pixel", False),
        ("annotations.0.segmentation", None, "has no mask", False),
        ("annotations.0.iscrowd", 1, "1 images have no object", False),
        ("images.0.file_name", "a.png", "2 images have the file name 'a.png'", False),
        ("categories.0.name", "bee", "the name 'bee' is that of 7, 30", True),
    ],
)
def test_faults(content, path, value, message, is_error):
    change(content, path, value)
    (finding,) = check_content(content)[0]
    assert re.search(message, finding.message)
    assert finding.is_error == is_error


def write(path, orientation=None, shape=(HEIGHT, WIDTH)):
    cv2.imwrite(str(path), np.zeros((*shape, 3), np.uint8))
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        with Image.open(path) as image:
            image.load()
        image.save(path, exif=exif)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, "no image file"),
        ({"shape": (10, 10)}, "height x width 10 x 10, but its annotations say 12 x 16"),
        ({"shape": (WIDTH, HEIGHT)}, "swapped"),
        ({"orientation": 6}, r"orientation tag \(6\)"),
    ],
)
def test_files_are_compared_with_the_annotations(content, tmp_path, options, message):
    _, images = check_content(content)
    write(tmp_path / "a.png")
    if options is not None:
        write(tmp_path / "b.png", **options)
    (finding,) = check_images(images, tmp_path, decode=True)
    assert "image 9: " in finding.message
    assert message.replace("\\", "") in finding.message
    assert len(check_images(images, tmp_path, decode=False)) == (options is None)
