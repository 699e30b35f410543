"""What drawing must keep: colours, untouched pixels and readable labels."""

import cv2
import numpy as np
import pytest

from mobileinst_core.detections import Detections
from mobileinst_core.video.drawing import TrackVisualizer, instance_color

HEIGHT, WIDTH = 120, 160


def detections_of(masks, *, ids=None, scores=None, classes=None):
    masks = np.array(masks, bool)
    count = len(masks)
    return Detections(
        masks=masks,
        boxes=np.array([tight_box(mask) for mask in masks], np.float32).reshape(-1, 4),
        scores=np.ones(count, np.float32) if scores is None else np.array(scores, np.float32),
        classes=np.zeros(count, np.int64) if classes is None else np.array(classes, np.int64),
        ids=None if ids is None else np.array(ids, np.int64),
    )


def tight_box(mask):
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return x, y, x + width, y + height


def disc(x, y, radius, height=HEIGHT, width=WIDTH):
    rows, columns = np.mgrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_pixels_outside_masks_stay_and_pixels_inside_change(frame):
    masks = np.stack([disc(40, 60, 25), disc(120, 70, 30), disc(0, 0, 20)])
    before = frame.copy()
    drawn = TrackVisualizer(show_labels=False).draw_instance_predictions(
        frame, detections_of(masks, ids=[1, 2, 3])
    )
    assert np.array_equal(frame, before)
    union = masks.any(axis=0)
    changed = (drawn != frame).any(axis=2)
    assert not changed[~union].any()
    assert changed[union].mean() > 0.95


def test_the_interior_is_a_blend_and_the_edge_full_colour(frame):
    drawn = TrackVisualizer(alpha=0.25, show_labels=False).draw_instance_predictions(
        frame, detections_of([disc(80, 60, 30)], ids=[7])
    )
    expected = 0.75 * frame[60, 80] + 0.25 * np.array(instance_color(7))
    assert np.allclose(drawn[60, 80], expected, atol=1)
    assert tuple(drawn[60, 50]) == tuple(drawn[90, 80]) == instance_color(7)


def test_colour_follows_the_identity_and_nothing_else():
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left, right = disc(40, 60, 20), disc(120, 60, 20)
    visualizer = TrackVisualizer(show_labels=False)
    both = visualizer.draw_instance_predictions(frame, detections_of([left, right], ids=[4, 9]))
    swapped = visualizer.draw_instance_predictions(frame, detections_of([right, left], ids=[9, 4]))
    alone = visualizer.draw_instance_predictions(
        frame, detections_of([right], ids=[9], scores=[0.1], classes=[5])
    )
    assert np.array_equal(both, swapped)
    assert np.array_equal(both[60, 120], alone[60, 120])
    assert not np.array_equal(both[60, 40], both[60, 120])


def test_the_first_identities_have_distinct_colours():
    colors = np.array([instance_color(identity) for identity in range(1, 25)], dtype=int)
    distance = np.abs(colors[:, None] - colors[None]).sum(axis=2)
    assert distance[~np.eye(len(colors), dtype=bool)].min() >= 50
    assert np.abs(np.diff(colors, axis=0)).sum(axis=1).min() >= 150


def test_small_object_is_drawn_over_a_large_one():
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    small, large = disc(80, 60, 8), disc(80, 60, 50)
    visualizer = TrackVisualizer(alpha=1.0, show_labels=False)
    drawn = visualizer.draw_instance_predictions(frame, detections_of([small, large], ids=[1, 2]))
    assert tuple(drawn[60, 80]) == instance_color(1)
    assert tuple(drawn[60, 50]) == instance_color(2)


@pytest.mark.parametrize("count", [0, 1])
def test_where_nothing_is_seen_the_frame_is_equal_but_separate(frame, count):
    masks = np.zeros((count, HEIGHT, WIDTH), bool)
    hidden = detections_of(masks, ids=[1] * count)
    drawn = TrackVisualizer(["cat"]).draw_instance_predictions(frame, hidden)
    assert np.array_equal(drawn, frame)
    assert not np.shares_memory(drawn, frame)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"ids": [12], "scores": [0.874], "classes": [1]}, "#12 dog .87"),
        ({"scores": [0.874], "classes": [1]}, "dog .87"),
        ({"ids": [2], "scores": [1.0], "classes": [5]}, "#2 class 5 1.00"),
        ({"ids": [3], "scores": [np.nan], "classes": [0]}, "#3 cat"),  # ground truth
    ],
)
def test_label_text(frame, monkeypatch, fields, text):
    written = []
    monkeypatch.setattr(cv2, "putText", lambda _image, label, *_rest: written.append(label))
    TrackVisualizer(["cat", "dog"]).draw_instance_predictions(
        frame, detections_of([disc(80, 60, 20)], **fields)
    )
    assert written == [text]


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (24, 1000)])
@pytest.mark.parametrize("corner", [(0, 0), (-1, -1)])
def test_labels_fit_frames_of_any_size(size, corner):
    frame = np.full((*size, 3), 90, np.uint8)
    mask = np.zeros(size, bool)
    mask[corner] = True
    detections = detections_of([mask, mask], ids=[1, 2], scores=[0.5, 0.5], classes=[0, 0])
    drawn = TrackVisualizer(["a class with quite a long name"]).draw_instance_predictions(
        frame, detections
    )
    assert drawn.shape == frame.shape
    assert not np.array_equal(drawn, frame)


def test_labels_of_many_objects_of_one_size_are_all_there():
    frame = np.zeros((360, 640, 3), np.uint8)
    identities = list(range(1, 11))
    detections = detections_of(np.ones((10, 360, 640), bool), ids=identities, classes=[0] * 10)
    drawn = TrackVisualizer(["person"], alpha=0.0).draw_instance_predictions(frame, detections)
    # Away from the border, where the contours are.
    inside = drawn[4:-4, 4:-4]
    sizes = [(inside == instance_color(identity)).all(axis=2).sum() for identity in identities]
    assert min(sizes) > 0.5 * max(sizes)


def label_of(drawn, identity=1):
    """x0, y0, x1, y1 of the plate of a label; contours are thinner than it is."""
    plate = (drawn == instance_color(identity)).all(axis=2).astype(np.uint8)
    plate = cv2.morphologyEx(plate, cv2.MORPH_OPEN, np.ones((5, 9), np.uint8))
    return tight_box(plate)


def draw_one(mask, size=(360, 640)):
    frame = np.zeros((*size, 3), np.uint8)
    detections = detections_of([mask], ids=[1], classes=[0])
    return TrackVisualizer(["person"], alpha=0.0).draw_instance_predictions(frame, detections)


def test_the_label_stands_at_the_largest_piece_of_a_mask():
    mask = disc(120, 200, 60, 360, 640)
    for x, y in ((500, 60), (560, 300), (600, 40)):
        mask |= disc(x, y, 12, 360, 640)
    x0, y0, x1, y1 = label_of(draw_one(mask))
    assert 60 <= x0 < x1 <= 180
    assert 110 <= y0 < y1 <= 145


def test_the_label_stands_above_the_top_and_not_above_the_middle():
    mask = np.zeros((360, 640), bool)
    mask[100:300, 60:120] = True  # a person
    mask[160:180, 120:500] = True  # with an outstretched arm
    x0, y0, x1, y1 = label_of(draw_one(mask))
    assert abs((x0 + x1) / 2 - 90) <= 3
    assert 75 <= y0 < y1 <= 100


@pytest.mark.parametrize(("x", "y"), [(0, 0), (639, 0), (0, 359), (639, 359), (320, 0)])
def test_labels_stay_inside_the_image(x, y):
    # One pixel, so that what is drawn is the plate of the label.
    x0, y0, x1, y1 = tight_box(draw_one(disc(x, y, 0, 360, 640)).any(axis=2))
    inner = tight_box(draw_one(disc(320, 180, 0, 360, 640)).any(axis=2))
    assert x1 - x0 == inner[2] - inner[0]
    assert abs((y1 - y0) - (inner[3] - inner[1])) <= 2


def test_a_label_in_the_corner_is_not_hidden_by_the_mark_of_the_frame():
    frame = np.zeros((360, 640, 3), np.uint8)
    mask = np.zeros((360, 640), bool)
    mask[:60, :80] = True
    detections = detections_of([mask], ids=[1], classes=[0])
    visualizer = TrackVisualizer(["disc"], alpha=0.0)
    alone = visualizer.draw_instance_predictions(frame, detections)
    marked = visualizer.draw_instance_predictions(frame, detections, mark="ground truth")
    # Below the border, where the contour is, and where the mark covers some of that.
    plates = [(image == instance_color(1)).all(axis=2) for image in (alone, marked)]
    assert plates[0][3:12, 5:75].any()
    assert not plates[1][3:12, 5:75].any()
    assert plates[1][20:, 5:75].sum() > 0.7 * plates[0][2:, 5:75].sum()


def test_wrong_sizes_and_types_are_refused(frame):
    visualizer = TrackVisualizer()
    detections = detections_of([disc(80, 60, 20)])
    for wrong, message in (
        (frame[:60], r"masks are \(120, 160\).*frame is \(60, 160\)"),
        (frame.astype(np.float32), "uint8"),
        (frame[..., 0], "uint8"),
    ):
        with pytest.raises(ValueError, match=message):
            visualizer.draw_instance_predictions(wrong, detections)
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        TrackVisualizer(alpha=1.5)
