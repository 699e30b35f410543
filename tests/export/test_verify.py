"""What a graph may differ from its module by."""

import numpy as np
import pytest
import torch
from torch import nn

from mobileinst_d2.export import ExportError, verify

IMAGE = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)


def check(monkeypatch, module, found, **options):
    monkeypatch.setattr(verify, "run_graph_guarded", lambda *_: found)
    graph = {"inputs": ["image"], "outputs": [*found], "files": ["x.onnx"]}
    return verify.check_graph("onnx", None, graph, module, IMAGE, **options)


class Same(nn.Module):
    """Gives its input."""

    output_names = ("x",)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x,)


def test_a_difference_above_the_tolerance_is_refused(monkeypatch):
    checked = check(monkeypatch, Same(), {"x": IMAGE + np.float32(5e-5)})
    assert checked.differences["max_difference"]["x"] == pytest.approx(5e-5, rel=0.01)
    with pytest.raises(ExportError, match=r"x differs from PyTorch by 0\.0002.*0\.01 % would be"):
        check(monkeypatch, Same(), {"x": IMAGE + np.float32(2e-4)})
    with pytest.raises(ExportError, match="differs from PyTorch by nan"):
        check(monkeypatch, Same(), {"x": IMAGE * np.nan})


def test_what_another_graph_gave_and_was_accepted_is_right(monkeypatch):
    found = {"x": IMAGE + np.float32(2e-4)}
    checked = check(monkeypatch, Same(), found, accepted={"x": found["x"] + np.float32(1e-5)})
    assert checked.differences["max_difference"]["x"] == pytest.approx(2e-4, rel=0.01)
    with pytest.raises(ExportError, match="x differs"):
        check(monkeypatch, Same(), found, accepted={"x": found["x"] + np.float32(1e-3)})


class Instances(nn.Module):
    """Forty instances whose masks and scores depend on the image, unless ``strength`` is 0."""

    input_name = "image"
    output_names = ("kernels", "scores", "mask_features")

    def __init__(self, strength: float = 1.0, chaos: float = 0.0) -> None:
        super().__init__()
        self.strength, self.chaos = strength, chaos
        self.norm = nn.BatchNorm2d(3)
        weights = np.random.default_rng(1).normal(size=(2, 192, 120)).astype(np.float32)
        self.weights = nn.Parameter(torch.from_numpy(weights))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.strength * (self.norm(image).flatten() - 0.5)
        if self.chaos:
            x = torch.sin(1e6 * self.chaos * self.norm(image).flatten())
        kernels = (x @ self.weights[0]).view(1, 40, 3)
        scores = (x @ self.weights[1]).view(1, 40, 3).sigmoid()
        return kernels, scores, self.norm(image) - 0.5


def outputs_of(module: nn.Module) -> dict[str, np.ndarray]:
    with torch.no_grad():
        tensors = module(torch.from_numpy(IMAGE))
    return {name: x.numpy() for name, x in zip(module.output_names, tensors, strict=True)}


def test_instances_that_are_found_again_may_have_other_digits(monkeypatch):
    module = Instances().eval()
    found = outputs_of(module)
    found["kernels"] = found["kernels"] * np.float32(1.001)
    found["scores"] = found["scores"] + np.float32(0.001)
    assert check(monkeypatch, module, found).differences["max_difference"]["scores"] > 5e-4


def test_instances_in_another_order_are_the_same(monkeypatch):
    module = Instances().eval()
    found = outputs_of(module)
    for name in ("kernels", "scores"):
        found[name] = found[name][:, ::-1]
    assert check(monkeypatch, module, found)


@pytest.mark.parametrize(("wrong", "is_accepted"), [(2, True), (3, False)])
def test_single_instances_may_be_others(monkeypatch, wrong, is_accepted):
    module = Instances().eval()
    found = outputs_of(module)
    found["scores"] = found["scores"].copy()
    found["scores"][:, :wrong] = 1 - found["scores"][:, :wrong]
    if is_accepted:
        assert check(monkeypatch, module, found)
    else:
        with pytest.raises(ExportError, match="scores differs from PyTorch"):
            check(monkeypatch, module, found)


def test_masks_of_other_places_are_refused(monkeypatch):
    module = Instances().eval()
    found = outputs_of(module)
    found["mask_features"] = np.roll(found["mask_features"], 1, axis=3)
    with pytest.raises(ExportError, match="mask_features differs from PyTorch"):
        check(monkeypatch, module, found)


@pytest.mark.parametrize("module", [Instances(0.0), Instances(chaos=1.0)], ids=["same", "chaos"])
@pytest.mark.parametrize("is_right", [True, False])
def test_weights_that_tell_nothing_are_replaced_for_the_check(monkeypatch, module, is_right):
    module.eval()
    module.norm.running_mean.fill_(100.0)
    written = []

    def write(_, settled, *__, **___):
        written.append(settled)
        return {"inputs": {}, "outputs": {}, "files": []}

    def run(_, folder, *__):
        outputs = outputs_of(written[0] if folder else module)
        if folder and is_right:
            return outputs
        return {name: x + np.float32(0.3) for name, x in outputs.items()}

    monkeypatch.setattr(verify, "export_module", write)
    monkeypatch.setattr(verify, "run_graph_guarded", run)
    graph = {"inputs": ["image"], "files": ["x.onnx"]}
    arguments = "onnx", None, graph, module, IMAGE
    if is_right:
        assert verify.check_graph(*arguments)
    else:
        with pytest.raises(ExportError, match="kernels differs from PyTorch"):
            verify.check_graph(*arguments)
    # The module itself stays as it is.
    assert float(module.norm.running_mean[0]) == 100
    assert float(written[0].norm.running_mean.abs().max()) < 1
