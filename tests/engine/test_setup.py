"""Configs are checked before anything is built on them."""

import pytest
import torch

from mobileinst_d2.engine.setup import ConfigError, setup_cfg


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="config.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file


def test_file_then_overrides(write):
    write("SOLVER:\n  MAX_ITER: 5\n  BASE_LR: 0.5\n", "base.yaml")
    path = write("_BASE_: base.yaml\nSOLVER:\n  MAX_ITER: 6\n")
    cfg = setup_cfg(path, ["SOLVER.IMS_PER_BATCH", "3"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SOLVER.IMS_PER_BATCH) == (6, 0.5, 3)
    assert cfg.MODEL.MOBILEINST.HIDDEN_DIM == 256
    assert not cfg.is_frozen()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SOLVER:\n  MAX_ITR: 5\n", r"'SOLVER\.MAX_ITR'; the closest is 'SOLVER\.MAX_ITER'"),
        ("SOLVR:\n  MAX_ITER: 5\n", r"'SOLVR\.MAX_ITER'; the closest is 'SOLVER\.MAX_ITER'"),
        ("SOLVER:\n  MAX_ITER:\n    NOW: 5\n", r"'SOLVER\.MAX_ITER\.NOW'"),
        ("SOLVER:\n  MAX_ITER: many\n", r"Type mismatch.*SOLVER\.MAX_ITER"),
        ("SOLVER: 3\n", "SOLVER"),
        ("SOLVER: [1\n", "no valid yaml"),
        ("- 1\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("_BASE_: config.yaml\n", "_BASE_ leads back to itself"),
        ("_BASE_: 3\n", "_BASE_ must be the name of a file"),
        ("_BASE_: gone.yaml\n", r"_BASE_ .*gone\.yaml' does not exist"),
    ],
)
def test_a_bad_file_is_named_with_the_reason(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        setup_cfg(path)
    assert path in str(caught.value)


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"SEED: 3 # caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml.* no text in UTF-8"):
        setup_cfg(path)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.NUM_CLASES", "3"], r"'MODEL\.NUM_CLASES'; the closest is 'MODEL\.NUM_CLASSES'"),
        (["MODEL.CRITERION.MASK_WEIGHT", "1"], r"it is 'MODEL\.MOBILEINST\.LOSS\.MASK_WEIGHT' now"),
        (["TEST.STREAMING.SMOOTHING", "0"], r"'TEST\.STREAMING\.SMOOTHING' is .* it is 0\.8: take"),
        (["192", "256"], "'192' is one word too many for the option before it"),
        (["model.num_classes", "3"], r"closest is 'MODEL\.NUM_CLASSES'"),
        (["MODEL.NUM_CLASSES"], r"MODEL\.NUM_CLASSES has no value"),
        (["MODEL.NUM_CLASSES", "3", "--resume"], "--resume must come before"),
        (["MODEL.NUM_CLASSES=3"], "KEY VALUE"),
        (["INPUT.FORMAT", "rgb"], r"INPUT\.FORMAT is 'rgb': choose 'RGB' or 'BGR'"),
        (["INPUT.MIN_SIZE_TRAIN", "()"], r"MIN_SIZE_TRAIN is \(\): give short sides in pixels"),
        (["INPUT.MIN_SIZE_TRAIN", "(-1,)"], r"MIN_SIZE_TRAIN is \(-1,\): give short sides"),
        (["INPUT.MIN_SIZE_TEST", "-1"], r"MIN_SIZE_TEST is -1: choose the short side in pixels, o"),
        (["INPUT.MAX_SIZE_TEST", "0"], r"MAX_SIZE_TEST is 0: choose the longest side in pixels"),
        (["DATASETS.TRAIN", "(3,)"], r"DATASETS\.TRAIN is \(3,\): give names of data sets"),
        (["DATASETS.TEST", "(None,)"], r"DATASETS\.TEST is \(None,\): give names of data sets"),
        (["MODEL.MOBILEINST.HIDDEN_DIM", "0"], r"MOBILEINST\.HIDDEN_DIM is 0: .* at least 1"),
        (["MODEL.MOBILEINST.INSTANCE_DECODER.FFN_DIM", "-4"], r"FFN_DIM is -4: .* at least 0"),
        (["OUTPUT_DIR", ""], "OUTPUT_DIR is empty: name a folder"),
        (["MODEL.DEVICE", "gpu"], r"MODEL\.DEVICE 'gpu' is no device: choose cpu, cuda"),
        (["INPUT.FIXED_SIZE_TEST", "(640,)"], r"INPUT\.FIXED_SIZE_TEST is \(640,\): give height"),
        (["MODEL.NUM_CLASSES", "three"], r"Type mismatch.*MODEL\.NUM_CLASSES"),
        (["SOLVER.BASE_LR", "1"], r"Type mismatch.*BASE_LR: write .* with a decimal point"),
    ],
)
def test_a_bad_override_is_named_with_the_reason(write, opts, message):
    with pytest.raises(ConfigError, match=message):
        setup_cfg(write("VERSION: 2\n"), opts)


def test_without_gpu_the_cpu_is_used_and_said(write, monkeypatch, caplog):
    path = write("MODEL:\n  DEVICE: cuda\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert setup_cfg(path).MODEL.DEVICE == "cpu"
    assert "running on the CPU" in caplog.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert setup_cfg(path).MODEL.DEVICE == "cuda"
