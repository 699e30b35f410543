import pytest
import torch
from random_weights import randomise
from small_repvit import SMALL_REPVIT
from tiny_models import build_tiny_model, noise_image
from torch import nn

from mobileinst_d2.modeling.layers import mask_product

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning"
)

SEAFORMER = {"MODEL__BACKBONE__NAME": "SeaFormer"}
TIMM = {"MODEL__BACKBONE__NAME": "TimmBackbone"}
MASKS, INSTANCES = "MODEL__MOBILEINST__MASK_DECODER__", "MODEL__MOBILEINST__INSTANCE_DECODER__"
VARIANTS = {
    "topformer-t": {},
    "seaformer-t": SEAFORMER | {"MODEL__SEAFORMER__VARIANT": "tiny"},
    "mobilenetv2-pool": TIMM | {"MODEL__TIMM__GLOBAL_FEATURE": "pool"},
    "separable": {
        MASKS + "SEPARABLE_STRIDES": (8,),
        MASKS + "DOWNSAMPLE": "max",
        INSTANCES + "LAYERS": ["global"],
    },
    "fpn-ppm": {
        MASKS + "NAME": "FPNPPMMaskDecoder",
        MASKS + "PPM_DIM": 16,
        INSTANCES + "LAYERS": ["local", "global", "local"],
        INSTANCES + "LOCAL_POOL": "avg",
        INSTANCES + "LOCAL_POOL_SIZE": 3,
    },
    "literal": {
        MASKS + "ENHANCERS": [],
        MASKS + "PYRAMID_NORM": "",
        MASKS + "DOWNSAMPLE": "bilinear",
        INSTANCES + "FFN_DIM": 0,
        INSTANCES + "LOCAL_POOL": "none",
        INSTANCES + "KERNEL_MLP_LAYERS": 3,
        "MODEL__MOBILEINST__KERNEL_DIM": 64,
    },
    "other-norms": {
        "MODEL__BACKBONE__NORM": "FrozenBN",
        "MODEL__MOBILEINST__NORM": "GN",
        MASKS + "DOWNSAMPLE": "conv",
    },
}

# Its graphs have fewer layers than the model.
REPVIT = TIMM | {"MODEL__TIMM__NAME": SMALL_REPVIT}

# What every runtime has. No adaptive pooling, fused attention, einsum, indexing, sampling, sorting
# or branching, and nothing that makes positions or works on sizes.
OPERATIONS = {
    "prim::Constant", "prim::GetAttr", "prim::ListConstruct", "prim::ListUnpack",
    "prim::TupleConstruct", "prim::TupleUnpack",
    "aten::_convolution", "aten::batch_norm", "aten::group_norm", "aten::layer_norm",
    "aten::linear", "aten::matmul", "aten::softmax", "aten::dropout",
    "aten::avg_pool2d", "aten::max_pool2d", "aten::mean", "aten::upsample_bilinear2d",
    "aten::upsample_nearest2d",
    "aten::relu", "aten::hardtanh", "aten::hardsigmoid", "aten::sigmoid", "aten::gelu",
    "aten::relu_", "aten::hardtanh_",
    "aten::add", "aten::sub", "aten::mul", "aten::div", "aten::sqrt", "aten::rsqrt",
    "aten::exp", "aten::neg",
    "aten::cat", "aten::split_with_sizes", "aten::expand", "aten::flatten", "aten::unflatten",
    "aten::transpose", "aten::squeeze", "aten::unsqueeze",
}  # fmt: skip


@torch.no_grad()
def expected_outputs(model, image):
    """What the model itself gives, for one image (3, H, W)."""
    outputs = model.keyframe([image])
    outputs["mask_logits"] = mask_product(outputs["kernels"], outputs["mask_features"])
    return outputs


def assert_same(found, expected):
    assert found.keys() <= expected.keys()
    for name, value in found.items():
        tolerance = 1e-5 if name == "scores" else 1e-4
        torch.testing.assert_close(value, expected[name], atol=tolerance, rtol=0)


@torch.no_grad()
def run(graph, image):
    return dict(zip(graph.output_names, graph(image), strict=True))


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_graphs_compute_what_the_model_computes_with_plain_operations_only(options):
    model = randomise(build_tiny_model(**options)).eval()
    graphs = model.export_graphs((64, 128))
    assert list(graphs) == ["image", "keyframe", "reuse"]
    for seed in range(2):
        image = noise_image(64, 128, seed)[None].float()
        expected = expected_outputs(model, image[0])
        for graph in graphs.values():
            assert_same(run(graph, image), expected)
    assert_plain(graphs["image"])


def assert_plain(graph):
    traced = torch.jit.trace(graph, graph.example_input(), check_trace=False)
    nodes = list(traced.inlined_graph.nodes())
    assert {node.kind() for node in nodes} <= OPERATIONS
    # Some converters take no default for the stride of a pooling.
    for node in nodes:
        if node.kind().endswith("pool2d"):
            stride = list(node.inputs())[2].node()
            assert len(list(stride.inputs())) == 2


def test_branches_for_training_are_merged_in_graphs_alone():
    # With its first weights, as random norms let its residual blocks grow.
    model = build_tiny_model(**REPVIT).eval()
    number = len(list(model.backbone.modules()))
    image = noise_image(64, 128)[None].float()
    expected = expected_outputs(model, image[0])
    graphs = model.export_graphs((64, 128))
    for graph in graphs.values():
        assert_same(run(graph, image), expected)
        backbone = graph.network.backbone
        assert not [m for m in backbone.network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(list(backbone.modules())) < number
    assert len(list(model.backbone.modules())) == number
    assert_plain(graphs["image"])


def test_outputs_have_the_names_and_shapes_of_the_contract(lively_model):
    graphs = lively_model.export_graphs((64, 192))
    shapes = {
        name: {key: tuple(value.shape) for key, value in run(graph, graph.example_input()).items()}
        for name, graph in graphs.items()
    }
    assert shapes == {
        "image": {"scores": (1, 20, 4), "mask_logits": (1, 20, 8, 24)},
        "keyframe": {"kernels": (1, 20, 32), "scores": (1, 20, 4), "mask_features": (1, 32, 8, 24)},
        "reuse": {"mask_features": (1, 32, 8, 24)},
    }


def test_images_smaller_than_the_graph_stand_top_left_on_the_mean(lively_model):
    small = noise_image(100, 120).float()
    image = lively_model.pixel_mean.expand(3, 128, 128).clone()
    image[:, :100, :120] = small
    expected = expected_outputs(lively_model, small)
    for graph in lively_model.export_graphs((128, 128)).values():
        assert_same(run(graph, image[None]), expected)
