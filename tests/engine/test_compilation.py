"""A compiled network is the same network: course of a training, names of weights, evaluation."""

import functools

import pytest
import torch
from tiny_models import FEW_LAYERS, build_tiny_model, noise_image
from toy_training import make_cfg, run, same, weights

from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine import trainer as trainer_module
from mobileinst_d2.engine.compilation import compile_network

# As PyTorch's own tests do: graphs are taken from Python, but not translated, which takes minutes.
BACKEND = "eager"


def test_a_compiled_training_takes_the_same_course(tmp_path, monkeypatch):
    straight, history = run(make_cfg(tmp_path / "a"))
    compiled = []

    def compile_quickly(model):
        compile_network(model, BACKEND)
        compiled.append(model)

    monkeypatch.setattr(trainer_module, "compile_network", compile_quickly)
    trainer, compiled_history = run(make_cfg(tmp_path / "b", "MODEL.COMPILE", True))
    assert len(compiled) == 1
    assert compiled_history == history
    assert same(weights(trainer), weights(straight))


def test_parts_of_a_network_become_graphs_and_their_outputs_stay(caplog):
    counted = []

    def count(graph, example_inputs):
        counted.append(graph)
        return graph.forward

    # Translating is slow: it takes its time with each layer.
    model = build_tiny_model(**FEW_LAYERS).train()
    names = list(model.state_dict())
    images = model.preprocess_image([{"image": noise_image(64, 96)}]).tensor
    expected = model.raw_outputs(images)
    with caplog.at_level("INFO"):
        compile_network(model, functools.partial(count))
    found = model.raw_outputs(images)
    assert len(counted) >= 3
    assert "backbone, mask_decoder, instance_decoder" in caplog.text
    assert list(model.state_dict()) == names
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_a_compiler_that_is_missing_is_named_before_the_training(tmp_path, monkeypatch):
    model = build_tiny_model(**FEW_LAYERS)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "strange++ -v")
    with pytest.raises(ConfigError, match=r"C\+\+ compiler on a CPU, and there is no 'strange"):
        compile_network(model)
    assert model.backbone._compiled_call_impl is None
