"""A model that predicts takes files of its own network alone, and nothing of any other."""

import functools
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from public_checkpoints import topformer_backbone
from small_fastinst import NODE, build_small_fastinst
from small_sparseinst import build_small_sparseinst
from tiny_models import FEW_LAYERS, build_tiny_model
from torch import nn
from toy_training import same

from mobileinst_d2.checkpoint import CheckpointError, TrainingCheckpointer

build_few_layers = functools.partial(build_tiny_model, **FEW_LAYERS)


def written(folder, state: dict[str, torch.Tensor]) -> str:
    path = folder / "file.pth"
    torch.save({"model": state}, path)
    return str(path)


@pytest.mark.parametrize(
    ("build", "other", "message"),
    [
        (build_small_fastinst, build_small_sparseinst, r"FastInst.*pixel_decoder.*not in the file"),
        (build_small_sparseinst, build_few_layers, r"SparseInst.*encoder\.\S+ .*not in the file"),
        (build_few_layers, build_small_fastinst, r"MobileInst.*mask_decoder.*not in the file"),
        (
            lambda: build_small_fastinst(**{f"{NODE}NUM_LAYERS": 1}),
            build_small_fastinst,
            r"no tensors of the model.*decoder\.layers\.1\..* of the file",
        ),
        (
            build_small_fastinst,
            lambda: build_small_fastinst(**{f"{NODE}NUM_LAYERS": 1}),
            r"decoder\.layers\.1\..* of the model.*no tensors of the file",
        ),
    ],
    ids=["sparseinst", "mobileinst", "fastinst", "deeper", "shallower"],
)
def test_a_file_of_another_network_is_refused_before_anything_is_loaded(
    tmp_path, build: Callable[[], nn.Module], other, message
):
    path = written(tmp_path, other().state_dict())
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        TrainingCheckpointer(model, to_predict=True).load(path)
    assert same(model.state_dict(), before)


def test_a_backbone_alone_is_refused(tmp_path):
    path = written(tmp_path, topformer_backbone("tiny", sim=True))
    with pytest.raises(
        CheckpointError, match="a backbone only, or another network: the rest of MobileInst"
    ):
        TrainingCheckpointer(build_tiny_model(), to_predict=True).load(path)


def test_a_part_of_the_model_in_detectron2s_files_is_refused(tmp_path):
    path = tmp_path / "part.pkl"
    path.write_bytes(pickle.dumps({"weight": np.ones((2, 2))}))
    with pytest.raises(CheckpointError, match=r"another network than Linear: bias of the model"):
        TrainingCheckpointer(nn.Linear(2, 2), to_predict=True).load(str(path))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_its_own_file_is_loaded_whatever_else_is_in_it(tmp_path, prefix):
    old, new = build_small_sparseinst(1), build_small_sparseinst(2)
    more = {"criterion.empty_weight": torch.ones(3), "ema.decay": torch.ones(())}
    state = {prefix + name: value for name, value in (old.state_dict() | more).items()}
    TrainingCheckpointer(new, to_predict=True).load(written(tmp_path, state))
    assert same(new.state_dict(), old.state_dict())


def test_a_training_may_start_from_the_backbone_of_another_system(tmp_path):
    old, new = build_small_sparseinst(1), build_small_fastinst(2)
    TrainingCheckpointer(new).load(written(tmp_path, old.state_dict()))
    assert same(new.backbone.state_dict(), old.backbone.state_dict())
