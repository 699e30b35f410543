"""An exported model on the command line in place of a config and weights."""

import argparse

import pytest

from mobileinst_d2.engine import ConfigError, add_exported_arguments, setup_cfg_of_model


def parse(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file", default="")
    add_exported_arguments(parser)
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    return parser.parse_args(list(map(str, arguments)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Looks like an exported folder."""
    monkeypatch.setattr("mobileinst_d2.engine.exported.read_manifest", lambda _: None)
    config = "INPUT: {FIXED_SIZE_TEST: [64, 128]}\nDATASETS: {TRAIN: [gone], TEST: [gone_too]}\n"
    (tmp_path / "config.yaml").write_text(config + "OUTPUT_DIR: /of/the/training\n")
    return tmp_path


def test_a_model_has_its_config_with_it(folder):
    cfg = setup_cfg_of_model(parse("--model", folder, "TEST.SCORE_THRESHOLD", 0.3))
    assert tuple(cfg.INPUT.FIXED_SIZE_TEST) == (64, 128)
    assert cfg.TEST.SCORE_THRESHOLD == 0.3
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == ((), ("gone_too",))
    path = folder / "config.yaml"
    assert setup_cfg_of_model(parse("--config-file", path)).DATASETS.TRAIN == ("gone",)
    # Neither the training's folder nor the config of the exported one is written over.
    assert f"{folder.resolve()}_evaluation" == cfg.OUTPUT_DIR
    assert setup_cfg_of_model(parse("--model", folder, "OUTPUT_DIR", "here")).OUTPUT_DIR == "here"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runtime", "onnx"], "name the folder with --model"),
        (["--model", "DIR", "--config-file", "a.yaml"], "--config-file and --model exclude"),
        (["--model", "DIR", "MODEL.WEIGHTS", "a.pth"], r"MODEL\.WEIGHTS cannot be changed"),
        (["--model", "DIR", "INPUT.FIXED_SIZE_TEST", "(64,64)"], r"FIXED_SIZE_TEST cannot be"),
        (["--model", "DIR", "TEST.SCORE_TRESHOLD", "1"], r"closest is 'TEST\.SCORE_THRESHOLD'"),
    ],
)
def test_contradictions_are_named(folder, arguments, message):
    arguments = [folder if argument == "DIR" else argument for argument in arguments]
    with pytest.raises(ConfigError, match=message):
        setup_cfg_of_model(parse(*arguments))
