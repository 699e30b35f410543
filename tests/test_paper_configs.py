"""The configs hold what the paper says about training and evaluation, and its tables."""

from pathlib import Path

import pytest
import yaml
from config_files import config_names, read_config
from detectron2.config import CfgNode
from tiny_models import config_leaves

ABLATIONS = sorted(Path(name).stem for name in config_names("mobileinst/ablations"))


def keys(text: str) -> dict[str, object]:
    """The full names of keys, and their values; lists of numbers and of names are tuples."""
    leaves = dict(config_leaves(CfgNode(yaml.safe_load(text))))
    return {
        key: tuple(value) if isinstance(value, list) and "PIXEL" not in key else value
        for key, value in leaves.items()
    }


COMMON = keys("""
SOLVER: {OPTIMIZER: ADAMW, BACKBONE_MULTIPLIER: 0.5, WEIGHT_DECAY: 0.05, WEIGHT_DECAY_NORM: 0.0,
  BIAS_LR_FACTOR: 1.0, LR_SCHEDULER_NAME: WarmupMultiStepLR, GAMMA: 0.1, WARMUP_METHOD: linear,
  WARMUP_ITERS: 1000, WARMUP_FACTOR: 0.001, CLIP_GRADIENTS: {ENABLED: False}, AMP: {ENABLED: False}}
INPUT: {FORMAT: RGB, MASK_FORMAT: bitmask, CROP: {ENABLED: False}, COLOR_JITTER: 0.0,
  MIN_SIZE_TRAIN_SAMPLING: choice}
DATALOADER: {SAMPLER_TRAIN: TrainingSampler, FILTER_EMPTY_ANNOTATIONS: True}
MODEL:
  PIXEL_MEAN: [123.675, 116.28, 103.53]
  PIXEL_STD: [58.395, 57.12, 57.375]
  MOBILEINST:
    LOSS: {CLASS_WEIGHT: 2.0, DICE_WEIGHT: 2.0, MASK_WEIGHT: 2.0, OBJECTNESS_WEIGHT: 1.0}
TEST: {AUG: {ENABLED: False}, SCORE_THRESHOLD: 0.005, MASK_THRESHOLD: 0.45}
""")
COCO = COMMON | keys("""
SOLVER: {IMS_PER_BATCH: 64, BASE_LR: 0.0001, MAX_ITER: 270000, STEPS: [210000, 250000], EPOCHS: 0.0}
INPUT: {MIN_SIZE_TRAIN: [416, 448, 480, 512, 544, 576, 608, 640], MAX_SIZE_TRAIN: 864,
  RANDOM_FLIP: horizontal, MIN_SIZE_TEST: 640, MAX_SIZE_TEST: 864}
TEST: {DETECTIONS_PER_IMAGE: 100}
MODEL: {NUM_CLASSES: 80}
DATASETS: {TRAIN: [coco_2017_train], TEST: [coco_2017_val]}
""")
VIDEO = COMMON | keys("""
SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.00005}
INPUT: {MIN_SIZE_TRAIN: [360], MAX_SIZE_TRAIN: 640, MIN_SIZE_TEST: 360, MAX_SIZE_TEST: 640,
  RANDOM_FLIP: none, SAMPLING_FRAME_NUM: 2, SAMPLING_FRAME_RANGE: 20}
MODEL: {NUM_CLASSES: 40, MOBILEINST: {QUERY_PASSING: shared}}
TEST: {DETECTIONS_PER_IMAGE: 10, TRACKING: {CLIP_LEN: 1}}
""")
YTVIS19 = VIDEO | keys("""
SOLVER: {MAX_ITER: 23000, STEPS: [15000, 21000], EPOCHS: 0.0}
DATASETS: {TRAIN: [ytvis_2019_train], TEST: [ytvis_2019_val]}
""")
YTVIS21 = VIDEO | keys("""
SOLVER: {EPOCHS: 12, EPOCH_STEPS: [8, 11]}
DATASETS: {TRAIN: [ytvis_2021_train], TEST: [ytvis_2021_val]}
""")


def config(name: str) -> CfgNode:
    return read_config(f"{name}.yaml" if name.startswith("toy/") else f"mobileinst/{name}.yaml")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("base", COCO),
        ("mobileinst_topformer-b_coco", COCO),
        ("mobileinst_topformer-b_no-enhancer_coco", COCO),
        ("mobileinst_topformer-b_literal_coco", COCO),
        ("mobileinst_seaformer-b_coco", COCO),
        ("mobileinst_mobilenetv2_coco", COCO),
        ("base_ytvis", YTVIS19),
        ("mobileinst_topformer-b_ytvis19", YTVIS19),
        ("mobileinst_seaformer-b_ytvis19", YTVIS19),
        ("mobileinst_mobilenetv2_ytvis19", YTVIS19),
        ("mobileinst_topformer-b_ytvis21", YTVIS21),
        ("mobileinst_seaformer-b_ytvis21", YTVIS21),
        ("mobileinst_mobilenetv2_ytvis21", YTVIS21),
    ],
)
def test_training_and_evaluation_are_the_papers(name, expected):
    found = dict(config_leaves(config(name)))
    assert {key: found[key] for key in expected} == expected


def changes(name: str, base: str) -> dict[str, object]:
    """Keys that a config sets otherwise than another, apart from the folder of the output."""
    cfg, other = config(name), config(base)
    before = dict(config_leaves(other))
    found = {key: value for key, value in config_leaves(cfg) if value != before[key]}
    assert found.pop("OUTPUT_DIR") == f"output/{name}"
    return found


OURS, CLIPS = "mobileinst_topformer-b_no-enhancer_coco", "mobileinst_topformer-b_ytvis21"
MODEL = "MODEL.MOBILEINST"
DECODER, MASKS = f"{MODEL}.INSTANCE_DECODER", f"{MODEL}.MASK_DECODER"
# Our own faster models, and in what they differ.
WIDTH_128 = {f"{MODEL}.HIDDEN_DIM": 128}
SEPARABLE = {f"{MASKS}.SEPARABLE_STRIDES": (8,)}
PASSING, CLIP_LEN = "MODEL.MOBILEINST.QUERY_PASSING", "TEST.TRACKING.CLIP_LEN"
NO_ENHANCER = {f"{MASKS}.ENHANCERS": []}
LITERAL = {
    f"{MASKS}.PYRAMID_NORM": "",
    f"{MASKS}.DOWNSAMPLE": "bilinear",
    f"{DECODER}.FFN_DIM": 0,
    f"{MODEL}.KERNEL_DIM": 256,
    f"{DECODER}.KERNEL_MLP_LAYERS": 3,
}
FPN = {f"{MASKS}.NAME": "FPNPPMMaskDecoder"}

# Each row of the tables, and in what it differs from the model that it is an ablation of.
ROWS = {
    "table1_topformer-b_512": ("mobileinst_topformer-b_coco", {"INPUT.MIN_SIZE_TEST": 512}),
    "table3_global": (OURS, {f"{DECODER}.LAYERS": ["global"]}),
    "table3_local": (OURS, {f"{DECODER}.LAYERS": ["local"]}),
    "table3_global-global": (OURS, {f"{DECODER}.LAYERS": ["global", "global"]}),
    "table3_local-local": (OURS, {f"{DECODER}.LAYERS": ["local", "local"]}),
    "table3_global-local": (OURS, {}),
    "table4_literal_coco": (OURS, LITERAL),
    "table5_no-pooling": (OURS, {f"{DECODER}.LOCAL_POOL": "none"}),
    "table5_max4": (OURS, {f"{DECODER}.LOCAL_POOL_SIZE": 4}),
    "table5_max8": (OURS, {}),
    "table5_avg8": (OURS, {f"{DECODER}.LOCAL_POOL": "avg"}),
    "table6_sparseinst-4conv": (OURS, FPN | {f"{MASKS}.NUM_MASK_CONVS": 4}),
    "table6_sparseinst-2conv": (OURS, FPN | {f"{MASKS}.NUM_MASK_CONVS": 2}),
    "table6_sparseinst-1conv": (OURS, FPN),
    "table6_fpn-1conv": (OURS, FPN | {f"{MASKS}.PPM_DIM": 0}),
    "table6_ours": (OURS, {}),
    "table6_ours-enhancers": ("mobileinst_topformer-b_coco", {}),
}
for design, keys in (("projected", {}), ("literal", LITERAL)):
    for training, passing in (("", {}), ("_no-passing", {PASSING: "none"})):
        for t in (1, 3, 6):
            clip_len = {} if t == 1 else {CLIP_LEN: t}
            difference = NO_ENHANCER | keys | passing | clip_len
            ROWS[f"table4_{design}{training}_t{t}"] = (CLIPS, difference)


# The family's other sizes differ in the head alone, models on networks of timm in the backbone.
NETWORKS = {
    "mobilenetv2": {},  # the default
    "mobilenetv4-s": {"MODEL.TIMM.NAME": "mobilenetv4_conv_small"},
    "mobilenetv4-m": {"MODEL.TIMM.NAME": "mobilenetv4_conv_medium"},
    "repvit-m0.9": {"MODEL.TIMM.NAME": "repvit_m0_9"},
}
FAMILY = {}
for data in ("coco", "ytvis19"):
    for backbone in ("topformer-b", "mobilenetv2", "mobilenetv4-s"):
        base = f"mobileinst_{backbone}_{data}"
        FAMILY[f"mobileinst_{backbone}_128_{data}"] = (base, WIDTH_128)
        FAMILY[f"mobileinst_{backbone}_128_dw_{data}"] = (base, WIDTH_128 | SEPARABLE)
    for backbone, network in NETWORKS.items():
        difference = {"MODEL.BACKBONE.NAME": "TimmBackbone"} | network
        FAMILY[f"mobileinst_{backbone}_{data}"] = (f"mobileinst_topformer-b_{data}", difference)


def test_every_row_has_its_file():
    assert sorted(ROWS) == ABLATIONS


@pytest.mark.parametrize("name", [*ROWS, *FAMILY])
def test_a_config_differs_only_in_what_it_is_about(name):
    base, expected = (ROWS | FAMILY)[name]
    found = changes(f"ablations/{name}" if name in ROWS else name, base)
    if name in ROWS:
        found.pop("MODEL.WEIGHTS", None)
    assert found == expected


def test_other_clip_lengths_and_sizes_evaluate_the_weights_of_their_training():
    training = {
        "table1_topformer-b_512": "mobileinst_topformer-b_coco",
        "table4_projected_t1": OURS,
        "table4_literal_t1": "ablations/table4_literal_coco",
    }
    for name in ABLATIONS:
        stem, _, t = name.rpartition("_t")
        if name.startswith("table4") and t in ("3", "6"):
            training[name] = f"ablations/{stem}_t1"
        elif name.endswith("no-passing_t1"):
            training[name] = training[name.replace("_no-passing", "")]
    assert len(training) == 1 + 12
    for name in ABLATIONS:
        weights = config(f"ablations/{name}").MODEL.WEIGHTS
        if name in training:
            assert weights == f"{config(training[name]).OUTPUT_DIR}/model_final.pth"
        else:
            assert weights == config("base").MODEL.WEIGHTS


def test_the_two_toy_models_are_those_of_the_family():
    network = ("MODEL.BACKBONE.NAME", *WIDTH_128, *SEPARABLE)
    network += (f"{DECODER}.NUM_HEADS", f"{DECODER}.FFN_DIM", f"{MODEL}.KERNEL_DIM")
    for toy, name, backbone in (
        ("full", "mobileinst_topformer-b_coco", "MODEL.TOPFORMER.VARIANT"),
        ("small", "mobileinst_mobilenetv4-s_128_dw_coco", "MODEL.TIMM.NAME"),
    ):
        found = dict(config_leaves(config(f"toy/shapes_image_{toy}")))
        expected = dict(config_leaves(config(name)))
        keys = (*network, backbone)
        assert {key: found[key] for key in keys} == {key: expected[key] for key in keys}
