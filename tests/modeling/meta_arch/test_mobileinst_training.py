import pytest
import torch
from model_inputs import check_training_step, clip_input, freeze_statistics, image_input, rectangles
from tiny_models import FEW_LAYERS, build_tiny_model

IMAGE_LOSSES = {"loss_cls", "loss_dice", "loss_mask", "loss_obj"}
CLIP_LOSSES = IMAGE_LOSSES | {"loss_passed_dice", "loss_passed_mask"}
A, B, C = rectangles(96, 128, 3)


CLIP_BATCHES = [
    [clip_input([[A], [B]]), clip_input([[A, B], [B, C]], seed=4)],
    [clip_input([[A, None, C], [None, B, A]])],
    [clip_input([[A, B], [None, None]])],
    [clip_input([[None], [A]])],
    [clip_input([[], []])],
    [clip_input([[A, B], [B, None], [C, A]])],
    [clip_input([[A], [B]], 70, 131), clip_input([[A], [B]], 96, 67)],
]


def test_clips_train_every_parameter():
    model = build_tiny_model(**FEW_LAYERS)
    for batch in CLIP_BATCHES:
        check_training_step(model, batch, CLIP_LOSSES)


MASKS, INSTANCES = "MODEL__MOBILEINST__MASK_DECODER__", "MODEL__MOBILEINST__INSTANCE_DECODER__"


@pytest.mark.parametrize(
    "options",
    [
        {MASKS + "ENHANCERS": []},
        {MASKS + "PYRAMID_NORM": "", MASKS + "DOWNSAMPLE": "conv"},
        {INSTANCES + "LAYERS": ["global", "global"]},
        {"MODEL__MOBILEINST__KERNEL_DIM": 64, INSTANCES + "FFN_DIM": 0},
        {MASKS + "NAME": "FPNPPMMaskDecoder", MASKS + "PPM_DIM": 0},
        {MASKS + "NAME": "FPNPPMMaskDecoder", MASKS + "PPM_DIM": 16},
    ],
    ids=str,
)
def test_every_design_trains_every_parameter(options):
    model = build_tiny_model(**FEW_LAYERS, **options)
    check_training_step(model, [clip_input([[A, B], [B, A]])], CLIP_LOSSES)


def test_passing_a_single_layer_is_refused_and_says_what_to_do():
    options = {"MODEL__MOBILEINST__INSTANCE_DECODER__LAYERS": ["local"]}
    model = build_tiny_model(**FEW_LAYERS, **options)
    with pytest.raises(ValueError, match=r"two layers or more.*QUERY_PASSING none"):
        model([clip_input([[A], [B]])])
    assert set(model([image_input()])) == IMAGE_LOSSES


def test_the_passed_loss_reaches_the_source_frame():
    model = freeze_statistics(build_tiny_model(**FEW_LAYERS))
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
