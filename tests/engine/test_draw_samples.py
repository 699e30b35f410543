"""TensorBoard gets ground truth beside predictions, and the training takes the same course."""

import pytest
import torch
from detectron2.engine import SimpleTrainer, TrainerBase
from detectron2.structures import BitMasks, Instances
from tiny_models import FEW_LAYERS, build_tiny_model

from mobileinst_d2.engine.hooks import DrawSamples
from mobileinst_d2.visualization import draw_truth, truth_detections


def frame(grey=50, ids=None):
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, 10:30, 10:40] = True
    masks[1, 40:60, 50:90] = True
    instances = Instances((64, 96))
    instances.gt_masks = BitMasks(masks)
    instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
    instances.gt_classes = torch.tensor([0, 1])
    if ids is not None:
        instances.gt_ids = torch.tensor(ids)
    return torch.full((3, 64, 96), grey, dtype=torch.uint8), instances


def train(batch, hooks):
    model = build_tiny_model(**FEW_LAYERS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    trainer = SimpleTrainer(model, [batch] * 3, optimizer)
    trainer._trainer = trainer
    images = []
    trainer.register_hooks(hooks)
    run_step = trainer.run_step

    def step():
        run_step()
        images.extend(trainer.storage._vis_data)
        trainer.storage.clear_images()

    trainer.run_step = step
    TrainerBase.train(trainer, 0, 3)
    return model, images


@pytest.mark.parametrize("is_clip", [False, True])
def test_samples_are_drawn_every_so_often(is_clip):
    (image, instances), (other, others) = frame(ids=[3, 5]), frame(ids=[3, -1])
    sample = {"image": [image, other], "instances": [instances, others]}
    if not is_clip:
        sample = {"image": image, "instances": frame()[1]}
    hook = DrawSamples(2, ["cat", "dog"], "RGB")
    model, drawn = train([sample], [hook])
    ((name, image, iteration),) = drawn
    assert (name, iteration) == ("sample", 1)
    # A short side of 64 is drawn at 256, for labels that leave something to see.
    assert image.shape == (3, 4 * (128 if is_clip else 64), 4 * 2 * 96)
    assert (image != 50).any()
    assert not model._forward_pre_hooks
    plain, nothing = train([sample], [])
    assert nothing == []
    assert model.training
    trained = dict(plain.state_dict())
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())


def test_objects_that_a_frame_does_not_show_are_not_drawn():
    image, instances = frame(ids=[3, -1])
    found = truth_detections(instances)
    assert found.ids.tolist() == [4]
    drawn = draw_truth(image, instances, ["cat", "dog"], image_format="BGR")
    assert (drawn[4 * 50, 4 * 70] == 50).all()
    assert (drawn[4 * 20, 4 * 20] != 50).any()
