import pytest
import torch
from model_inputs import (
    IMAGE_BATCHES,
    check_training_step,
    clip_input,
    image_input,
    make_instances,
    rectangles,
)
from tiny_models import FEW_LAYERS, build_tiny_model, noise_image
from torch import nn

IMAGE_LOSSES = {"loss_cls", "loss_dice", "loss_mask", "loss_obj"}
CLIP_LOSSES = IMAGE_LOSSES | {"loss_passed_dice", "loss_passed_mask"}
A, B, C = rectangles(96, 128, 3)


CLIP_BATCHES = {
    "a pair": lambda: [clip_input([[A, B], [B, A]])],
    "two pairs": lambda: [clip_input([[A], [B]]), clip_input([[A, B], [B, C]], seed=4)],
    "absent rows": lambda: [clip_input([[A, None, C], [None, B, A]])],
    "an empty target frame": lambda: [clip_input([[A, B], [None, None]])],
    "an empty source frame": lambda: [clip_input([[None], [A]])],
    "no objects": lambda: [clip_input([[], []])],
    "three frames": lambda: [clip_input([[A, B], [B, None], [C, A]])],
    "odd sizes": lambda: [clip_input([[A], [B]], 70, 131), clip_input([[A], [B]], 96, 67)],
}


def freeze_statistics(model: nn.Module) -> nn.Module:
    """Training mode, but the frames of a batch do not meet in the batch normalisations."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


@pytest.mark.parametrize("batch", IMAGE_BATCHES.values(), ids=IMAGE_BATCHES)
def test_images_train_every_parameter(batch):
    check_training_step(build_tiny_model(**FEW_LAYERS), batch(), IMAGE_LOSSES)


@pytest.mark.parametrize("batch", CLIP_BATCHES.values(), ids=CLIP_BATCHES)
def test_clips_train_every_parameter(batch):
    check_training_step(build_tiny_model(**FEW_LAYERS), batch(), CLIP_LOSSES)


@pytest.mark.parametrize(
    "options",
    [
        {"MODEL__MOBILEINST__MASK_DECODER__ENHANCERS": []},
        {
            "MODEL__MOBILEINST__MASK_DECODER__PYRAMID_NORM": "",
            "MODEL__MOBILEINST__MASK_DECODER__DOWNSAMPLE": "conv",
        },
        {"MODEL__MOBILEINST__INSTANCE_DECODER__LAYERS": ["global", "global"]},
        {"MODEL__MOBILEINST__KERNEL_DIM": 64, "MODEL__MOBILEINST__INSTANCE_DECODER__FFN_DIM": 0},
    ],
    ids=str,
)
def test_every_design_trains_every_parameter(options):
    model = build_tiny_model(**FEW_LAYERS, **options)
    check_training_step(model, [clip_input([[A, B], [B, A]])], CLIP_LOSSES)


def test_frames_of_clips_get_the_full_losses_of_images():
    frames = [[A, B], [C, None]]
    clip = clip_input(frames)
    images = [
        {"image": image, "instances": instances}
        for image, instances in zip(clip["image"], clip["instances"], strict=True)
    ]
    losses, expected = (
        build_tiny_model(**FEW_LAYERS)([clip]),
        build_tiny_model(**FEW_LAYERS)(images),
    )
    assert set(losses) - set(expected) == {"loss_passed_dice", "loss_passed_mask"}
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_passing_a_single_layer_is_refused_and_says_what_to_do():
    options = {"MODEL__MOBILEINST__INSTANCE_DECODER__LAYERS": ["local"]}
    model = build_tiny_model(**FEW_LAYERS, **options)
    with pytest.raises(ValueError, match=r"two layers or more.*QUERY_PASSING none"):
        model([clip_input([[A], [B]])])
    assert set(model([image_input()])) == IMAGE_LOSSES


def test_the_passed_loss_reaches_the_source_frame():
    model = build_tiny_model(**FEW_LAYERS)
    freeze_statistics(model)
    features = {}
    model.backbone.register_forward_hook(lambda module, args, out: features.update(out))
    losses = model([clip_input([[A, B], [B, A]])])
    features["x6"].retain_grad()
    features["x3"].retain_grad()
    (losses["loss_passed_dice"] + losses["loss_passed_mask"]).backward()

    source, target = features["x6"].grad.abs().amax((1, 2, 3))
    assert target > 0
    assert source > 0
    assert features["x3"].grad[1].abs().max() > 0

    # The queries of the target frame are not used: only the source frame's global decoder is.
    global_layer, local_layer = (
        [p.grad for p in layer.parameters() if p.dim() > 1]
        for layer in model.instance_decoder.layers
    )
    assert all(gradient.abs().max() > 0 for gradient in local_layer)
    assert all(gradient.abs().max() > 0 for gradient in global_layer)


def test_the_order_of_the_objects_does_not_matter():
    boxes = rectangles(96, 128, 4)
    order = [2, 0, 3, 1]
    image = noise_image(96, 128)
    results = []
    for chosen in (range(4), order):
        instances = make_instances((96, 128), [boxes[i] for i in chosen], list(chosen))
        results.append(build_tiny_model(**FEW_LAYERS)([{"image": image, "instances": instances}]))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value)


@pytest.mark.parametrize("match", ["shared", "identity", "own"])
def test_the_order_of_the_rows_of_a_clip_does_not_matter(match):
    frames = [[A, None, C], [B, C, None]]
    order = [2, 0, 1]
    results = []
    for rows in (range(3), order):
        clip = clip_input([[frame[i] for i in rows] for frame in frames])
        for instances in clip["instances"]:
            instances.gt_classes = torch.tensor(list(rows))
        model = build_tiny_model(**FEW_LAYERS, MODEL__MOBILEINST__QUERY_PASSING=match)
        results.append(model([clip]))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value)
