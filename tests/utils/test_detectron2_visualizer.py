"""Detectron2's drawing in the colours of ours."""

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from detectron2.utils.visualizer import VisImage, Visualizer

from mobileinst_d2.utils.detectron2_visualizer import Detectron2Visualizer
from mobileinst_d2.utils.visualizer import instance_color

FRAME = np.full((120, 160, 3), (90, 60, 30), np.uint8)


def square(identity):
    masks = torch.zeros(1, 120, 160, dtype=torch.bool)
    masks[:, 30:90, 50:110] = True
    instances = Instances((120, 160), pred_masks=masks, ID=[identity])
    instances.pred_classes, instances.scores = torch.tensor([0]), torch.tensor([0.5])
    return instances


@pytest.mark.parametrize("identity", [1, 2])
def test_masks_have_the_colour_of_their_identity(identity):
    drawn = Detectron2Visualizer(["cat"]).draw(FRAME, square(identity))
    assert drawn.shape == FRAME.shape
    expected = 0.5 * FRAME[0, 0] + 0.5 * np.array(instance_color(identity))
    assert np.abs(drawn[40, 60].astype(int) - expected).max() <= 3
    assert np.array_equal(drawn[100, 10], FRAME[0, 0])


def test_nothing_found_leaves_the_frame_as_it_is():
    nothing = Instances((120, 160), pred_masks=torch.zeros(0, 120, 160, dtype=torch.bool), ID=[])
    drawn = Detectron2Visualizer().draw(FRAME, nothing)
    assert np.array_equal(drawn, FRAME)


def test_labels_and_marks_are_written(monkeypatch):
    written = []

    def draw_text(self, text, *_, **__):
        written.append(text)
        return self.output

    monkeypatch.setattr(Visualizer, "draw_text", draw_text)
    monkeypatch.setattr(VisImage, "get_image", lambda _: FRAME)
    Detectron2Visualizer(["cat"]).draw(FRAME, square(3), mark="key frame")
    assert written == ["#3 cat .50", "key frame"]
