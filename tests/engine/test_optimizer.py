"""Parameter groups follow module types, and each parameter counts once."""

import pytest
import torch
from detectron2.solver.build import get_default_optimizer_params
from torch import nn
from toy_training import make_cfg

from mobileinst_d2.engine.optimizer import build_optimizer, parameter_groups


class ChannelNorm(nn.Module):
    """A normalisation outside PyTorch's class families."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


class OwnBatchNorm(nn.BatchNorm2d):
    """A subclass under a name that says little."""


OwnBatchNorm.__name__ = "Whitening"


class Net(nn.Module):
    """Each kind of parameter once, and a weight that two modules share."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), OwnBatchNorm(4))
        self.head = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.head.weight
        self.norms = nn.ModuleList(
            [nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.InstanceNorm1d(4, affine=True), ChannelNorm()]
        )
        self.query = nn.Parameter(torch.zeros(2, 4))
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)


def by_name(model, groups):
    names = {parameter: name for name, parameter in model.named_parameters()}
    settings = {}
    for group in groups:
        for parameter in group["params"]:
            assert names[parameter] not in settings, "in two groups"
            settings[names[parameter]] = (group["lr"], group["weight_decay"])
    return settings


def test_rules():
    model = Net()
    groups = parameter_groups(
        model, base_lr=1.0, weight_decay=0.1, weight_decay_norm=0.0, backbone_multiplier=0.5
    )
    settings = by_name(model, groups)
    assert settings["backbone.0.weight"] == settings["backbone.0.bias"] == (0.5, 0.1)
    assert settings["backbone.1.weight"] == settings["backbone.1.bias"] == (0.5, 0.0)
    assert settings["head.weight"] == settings["head.bias"] == settings["query"] == (1.0, 0.1)
    norms = {name: value for name, value in settings.items() if name.startswith("norms.")}
    assert len(norms) == 7
    assert set(norms.values()) == {(1.0, 0.0)}
    assert "frozen" not in settings
    assert len(settings) == len([p for p in model.parameters() if p.requires_grad])
    assert len(groups) == 4


def test_a_shared_parameter_follows_the_first_of_its_modules():
    shared = nn.ModuleList([ChannelNorm(), nn.Linear(1, 4, bias=False)])
    shared[1].weight = shared[0].weight
    (group,) = parameter_groups(shared, base_lr=1.0, weight_decay=0.1)
    assert group == {"params": [shared[0].weight], "lr": 1.0, "weight_decay": 0.0}


@pytest.mark.parametrize(("rule", "expected"), [(0.0, 0.0), (0.02, 0.02), (None, 0.1)])
def test_embeddings_have_their_own_weight_decay(rule, expected):
    model = nn.ModuleDict({"queries": nn.Embedding(2, 4), "head": nn.Linear(4, 4)})
    groups = parameter_groups(model, base_lr=1.0, weight_decay=0.1, weight_decay_embed=rule)
    settings = by_name(model, groups)
    assert settings["queries.weight"] == (1.0, expected)
    assert settings["head.weight"] == (1.0, 0.1)


def test_queries_do_not_decay_by_default(tmp_path):
    optimizer = build_optimizer(make_cfg(tmp_path), nn.Embedding(2, 4))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]


def test_agrees_with_detectron2_where_that_knows_the_modules():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 4), nn.LayerNorm(4))
    options = {
        "base_lr": 0.3,
        "weight_decay": 0.1,
        "weight_decay_norm": 0.05,
        "weight_decay_bias": 0.02,
        "bias_lr_factor": 2.0,
    }
    expected = by_name(model, get_default_optimizer_params(model, **options))
    assert by_name(model, parameter_groups(model, **options)) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("ADAMW", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_optimizer_by_name(tmp_path, name, expected):
    cfg = make_cfg(tmp_path, "SOLVER.OPTIMIZER", name, "SOLVER.MOMENTUM", 0.7)
    optimizer = build_optimizer(cfg, Net())
    assert type(optimizer) is expected
    if expected is torch.optim.SGD:
        assert {group["momentum"] for group in optimizer.param_groups} == {0.7}
    assert {group["lr"] for group in optimizer.param_groups} == {0.01, 0.005}


def test_nothing_to_train(tmp_path):
    with pytest.raises(ValueError, match="Linear has no trainable parameter"):
        build_optimizer(make_cfg(tmp_path), nn.Linear(2, 2).requires_grad_(False))


@pytest.mark.parametrize("name", ["ADAMW", "SGD"])
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("value", 0.5, [[0.5, 0.5], [0.5, 0.5]]),
        ("norm", 0.5, [[0.3, 0.4], [0.3, 0.4]]),
        ("full_model", 125**0.5 / 30, [[0.1, 0.4 / 3], [0.2, 0.8 / 3]]),
        ("full_model", 12.0, [[3.0, 4.0], [6.0, 8.0]]),  # the norm is 11.2
    ],
)
def test_gradients_are_clipped_as_configured(tmp_path, name, kind, value, expected):
    cfg = make_cfg(tmp_path, "SOLVER.OPTIMIZER", name)
    clip = ["ENABLED", True, "CLIP_TYPE", kind, "CLIP_VALUE", value]
    cfg.SOLVER.CLIP_GRADIENTS.merge_from_list(clip)
    model = nn.Module()
    model.first, model.second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = build_optimizer(cfg, model)
    model.first.grad, model.second.grad = torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])
    optimizer.step()
    torch.testing.assert_close(model.first.grad, torch.tensor(expected[0]))
    torch.testing.assert_close(model.second.grad, torch.tensor(expected[1]))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.OPTIMIZER", "LION", r"'LION'.*ADAMW or SGD"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "model", r"CLIP_TYPE='model'.*full_model"),
    ],
)
def test_unknown_names_are_told(tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        build_optimizer(make_cfg(tmp_path, key, value), Net())
