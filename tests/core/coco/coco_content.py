"""A small COCO annotation file."""

import copy

from annotation_files import HEIGHT, SQUARE, WIDTH, square_mask

AREA = int(square_mask().sum())
BOX = [2, 2, 8, 6]


def make_content(segmentation=None):
    """Two images, whose ids are not in order, with one object each."""
    segmentation = [SQUARE] if segmentation is None else segmentation
    images = [{"id": i, "height": HEIGHT, "width": WIDTH} for i in (9, 4)]
    for image, name in zip(images, ("b\\9.jpg", "a/4.jpg"), strict=True):
        image["file_name"] = name
    annotations = [
        {"id": number, "image_id": image_id, "category_id": category_id, "iscrowd": 0}
        | {"segmentation": copy.deepcopy(segmentation), "bbox": BOX, "area": AREA}
        for number, image_id, category_id in ((5, 9, 30), (6, 4, 7))
    ]
    categories = [{"id": 30, "name": "cat"}, {"id": 7, "name": "bee"}]
    return {"images": images, "categories": categories, "annotations": annotations}
