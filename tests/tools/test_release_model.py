"""A model to pass on holds weights and class names, and nothing of the training."""

import json

import pytest
import release_model
import torch
from tiny_models import build_tiny_model

from mobileinst_d2.checkpoint import TrainingCheckpointer


@pytest.fixture
def trained(tmp_path):
    """A checkpoint with the state of an optimizer, and the names of its classes."""
    model = build_tiny_model()
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    folder = tmp_path / "training"
    folder.mkdir()
    TrainingCheckpointer(model, str(folder), optimizer=optimizer).save("model_final", iteration=3)
    (folder / "metadata.json").write_text(json.dumps({"thing_classes": ["cat"]}))
    return model, folder / "model_final.pth"


def test_weights_load_and_the_optimizer_is_gone(trained, tmp_path, capsys):
    model, path = trained
    output = tmp_path / "release" / "model.pth"
    assert release_model.main(["--weights", str(path), "--output", str(output)]) == 0
    assert torch.load(output).keys() == {"model"}
    assert output.stat().st_size < 0.5 * path.stat().st_size
    assert (output.parent / "metadata.json").read_text() == json.dumps({"thing_classes": ["cat"]})
    other = build_tiny_model(seed=1)
    TrainingCheckpointer(other).load(str(output))
    loaded = other.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_nothing_is_replaced_and_other_files_are_refused(trained, tmp_path, fails):
    _, path = trained
    arguments = ["--weights", str(path), "--output"]
    fails("name another file", release_model.main, [*arguments, str(path)])
    existing = tmp_path / "mine.pth"
    existing.write_text("mine")
    fails("exists already", release_model.main, [*arguments, str(existing)])
    bare = tmp_path / "bare.pth"
    torch.save({"weight": torch.ones(2)}, bare)
    fails("no entry 'model'", release_model.main, ["--weights", str(bare), "--output", "new.pth"])


def test_class_names_of_another_model_stay(trained, tmp_path, fails):
    _, path = trained
    names = tmp_path / "metadata.json"
    names.write_text(json.dumps({"thing_classes": ["dog"]}))
    arguments = ["--weights", str(path), "--output", str(tmp_path / "cat.pth")]
    fails("class names of another model", release_model.main, arguments)
    assert not (tmp_path / "cat.pth").exists()
    assert "dog" in names.read_text()
    assert release_model.main([*arguments, "--overwrite"]) == 0
    assert "cat" in names.read_text()
    # The same names are no conflict.
    assert release_model.main([*arguments[:-1], str(tmp_path / "second.pth")]) == 0
