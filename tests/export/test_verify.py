import numpy as np
import pytest
import torch
from torch import nn

from mobileinst_d2.export import ExportError, verify


class Rounding(nn.Module):
    """Gives its input, with what adding a large number and taking it away costs."""

    output_names = ("x",)

    def __init__(self, large: float) -> None:
        super().__init__()
        self.large = large

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return ((x + self.large) - self.large,)


def check(monkeypatch, module: nn.Module, error: float) -> dict:
    image = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    monkeypatch.setattr(verify, "run_graph_guarded", lambda *_: {"x": image + np.float32(error)})
    graph = {"inputs": ["image"], "outputs": ["x"], "files": ["x.onnx"]}
    return verify.check_graph("onnx", None, graph, module, image, 1e-4)


def test_a_difference_above_the_tolerance_is_refused(monkeypatch):
    assert check(monkeypatch, Rounding(0.0), 5e-5)
    with pytest.raises(ExportError, match=r"x differs from PyTorch by 0\.0002.*at most 0\.01 %"):
        check(monkeypatch, Rounding(0.0), 2e-4)


def test_a_network_that_amplifies_rounding_may_differ_by_ten_times_that(monkeypatch):
    # Single precision has steps of 0.001 there, so the module itself is wrong by half of one.
    assert check(monkeypatch, Rounding(1e4), 2e-3)
    with pytest.raises(ExportError, match=r"at most 0\.4"):
        check(monkeypatch, Rounding(1e4), 1e-2)


def test_networks_for_single_precision_alone_keep_the_tolerance(monkeypatch):
    class Single(Rounding):
        def forward(self, x):
            if x.dtype != torch.float32:
                raise RuntimeError("expected float")
            return super().forward(x)

    with pytest.raises(ExportError, match=r"at most 0\.01 %"):
        check(monkeypatch, Single(1e4), 2e-3)
