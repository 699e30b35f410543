"""Files of all kinds: data come back, code is never run, and what cannot be read is named."""

import argparse
import collections
import importlib.util
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from detectron2.utils.file_io import PathManager
from torch import nn

from mobileinst_d2.checkpoint import CheckpointError, read_checkpoint


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_what_public_files_hold_beside_weights_is_read(tmp_path, legacy):
    path = tmp_path / "weights.pth"
    settings = argparse.Namespace(lr=0.1, output=pathlib.PosixPath("/a/b"), sizes=[1, (2, 3)])
    content = {
        "state_dict": collections.OrderedDict(weight=torch.arange(4.0)),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "args": settings,
        "best": np.float64(72.3),
        "flag": np.bool_(True),
        "array": np.arange(6.0).reshape(2, 3),
        "names": np.array(["a", 1], dtype=object),
        "note": b"bytes",
        "epoch": 299,
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    read = read_checkpoint(str(path))
    assert list(read) == list(content)
    assert torch.equal(read["state_dict"]["weight"], torch.arange(4.0))
    assert read["half"].dtype == torch.bfloat16
    assert (read["args"].lr, str(read["args"].output)) == (0.1, "/a/b")
    assert (read["best"], read["flag"], read["note"], read["epoch"]) == (72.3, True, b"bytes", 299)
    np.testing.assert_array_equal(read["array"], content["array"])
    np.testing.assert_array_equal(read["names"], content["names"])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_the_zoo_are_read(tmp_path, protocol):
    path = tmp_path / "weights.pkl"
    content = {
        "model": {"a": np.arange(3, dtype="float32"), "b": torch.ones(2)},
        "scale": np.float32(2),
        "order": collections.OrderedDict(x=b"y"),
    }
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_checkpoint(str(path))
    np.testing.assert_array_equal(read["model"]["a"], content["model"]["a"])
    assert torch.equal(read["model"]["b"], torch.ones(2))
    assert (read["scale"], read["order"]) == (2, {"x": b"y"})


def test_arrays_of_older_numpy_are_read(tmp_path):
    path = tmp_path / "weights.pkl"
    new = pickle.dumps({"a": np.ones(2)}, protocol=2)
    path.write_bytes(new.replace(b"numpy._core.", b"numpy.core."))
    np.testing.assert_array_equal(read_checkpoint(str(path))["a"], np.ones(2))


class Payload:
    """Runs a function when it is unpickled without care."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def save_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("save", "name"), [(torch.save, "w.pth"), (save_legacy, "w.pt"), (save_pickle, "w.pkl")]
)
@pytest.mark.parametrize("function", [eval, os.makedirs], ids=["eval", "makedirs"])
def test_code_is_named_and_not_run(tmp_path, save, name, function):
    path, mark = tmp_path / name, tmp_path / "mark"
    argument = f"open({str(mark)!r}, 'w')" if function is eval else str(mark)
    save({"state_dict": {"a": torch.ones(2)}, "x": Payload(function, argument)}, path)
    named = f"{function.__module__}.{function.__name__}"
    with pytest.raises(CheckpointError, match=rf"{name} holds more.*{named}.*nothing.*executed"):
        read_checkpoint(str(path))
    assert not mark.exists()


def test_code_inside_the_storage_of_a_pickled_tensor_is_not_run(tmp_path):
    path, mark, inner = tmp_path / "w.pkl", tmp_path / "mark", tmp_path / "inner"
    save_legacy(Payload(os.makedirs, str(mark)), inner)
    save_pickle(Payload(torch.storage._load_from_bytes, inner.read_bytes()), path)
    with pytest.raises(CheckpointError, match=r"w\.pkl"):
        read_checkpoint(str(path))
    assert not mark.exists()


def test_a_whole_module_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(CheckpointError, match=r"linear\.Linear.*torch\.save\(\{'model'"):
        read_checkpoint(str(path))


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")


def truncated(path):
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def scripted(path):
    torch.jit.script(nn.ReLU()).save(str(path))


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"just a text", "it is damaged"),
        (b"\x00" * 300, "it is damaged"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"<html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (other_zip, "it is damaged"),
        (truncated, "it is damaged"),
        (scripted, "it is damaged"),
    ],
)
@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file", "ignore:`torch.jit")
def test_other_files_are_named(tmp_path, content, message, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    with pytest.raises(CheckpointError, match=rf"weights\{suffix} cannot be read.*{message}"):
        read_checkpoint(str(path))


def test_addresses_go_through_detectron2s_path_manager(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(2)}, tmp_path / "cached.pth")
    fetched = {"https://example.org/w.pth": str(tmp_path / "cached.pth")}
    monkeypatch.setattr(PathManager, "get_local_path", fetched.get)
    assert set(read_checkpoint("https://example.org/w.pth")) == {"a"}


def test_safetensors_need_their_package(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install safetensors"):
        read_checkpoint(str(path))


def test_safetensors_are_read(tmp_path):
    writer = pytest.importorskip("safetensors.torch")
    path = tmp_path / "model.safetensors"
    writer.save_file({"a": torch.arange(3)}, str(path))
    assert torch.equal(read_checkpoint(str(path))["a"], torch.arange(3))
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        read_checkpoint(str(path))
