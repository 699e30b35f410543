"""The comparison of exported models with their network, here played by another exported one."""

import json
import re
from types import SimpleNamespace

import compare_runtimes
import pytest
from annotation_files import custom_dataset
from small_network import SIZE, build_small_network, small_config

from mobileinst_core.ytvis.moving_shapes import make_moving_shapes
from mobileinst_d2.export import ExportedModel, export_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two networks with the same config."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    root = tmp_path_factory.mktemp("exported")
    data = make_moving_shapes(root, num_videos=2, num_frames=4, height=64, width=96) / "train"
    sets = [custom_dataset(data, f"compare_{kind}", kind) for kind in ("ytvis", "coco")]
    cfg = small_config(DATASETS__CUSTOM=sets, TEST__SCORE_THRESHOLD=0.0)
    cfg.DATASETS.TEST = ("compare_ytvis",)
    cfg.TEST.STREAMING.SCORE_ON, cfg.TEST.STREAMING.SCORE_OFF = 0.1, 0.05
    for seed in (0, 1):
        network = build_small_network(seed)
        export_model(network, cfg, SIZE, "onnx", root / str(seed))
    return root


@pytest.fixture(autouse=True)
def weights(folders, monkeypatch):
    """The network of the weights N.pth is the one that the folder N was made of."""

    def load(cfg):
        return SimpleNamespace(model=ExportedModel(cfg, folders / cfg.MODEL.WEIGHTS[0]))

    monkeypatch.setattr(compare_runtimes, "load_predictor", load)
    # It changes loggers for the whole process, and so for other tests.
    monkeypatch.setattr(compare_runtimes, "setup_logger", lambda **_: None)


def compare(folders, tmp_path, *arguments):
    models = ["--model", str(folders / "0"), str(folders / "1"), "--json", str(tmp_path / "r.json")]
    compare_runtimes.main([*models, "--weights", "0.pth", *arguments])
    return json.loads((tmp_path / "r.json").read_text())


def test_equal_networks_agree_and_others_do_not(folders, tmp_path, capsys):
    same, other = compare(folders, tmp_path, "TEST.TRACKING.CLIP_LEN", "3")
    assert (same["runtime"], same["precision"], same["clip_len"]) == ("onnx", "fp32", 3)
    assert same["size"] == list(SIZE)
    assert same["tracks"] == same["same_tracks"] > 0
    assert same["frames"] == same["same_frames"] == 8
    assert same["iou_min"] == 1
    assert same["score_difference"] == 0
    assert same["ap"] == same["ap_pytorch"] is not None
    assert other["ap_pytorch"] == same["ap_pytorch"]
    assert other["same_tracks"] < other["tracks"] or other["iou_mean"] < 0.9
    printed = capsys.readouterr().out
    assert "| 0       | onnx      | fp32        | 64x128  |" in printed
    # Some videos have no AP.
    same, _ = compare(folders, tmp_path, "--max-videos", "1")
    assert (same["frames"], same["ap"]) == (4, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "compare_gone"], "no data set 'compare_gone'"),
        (["--dataset", "compare_coco"], "compare_coco has no videos"),
        (["--runtime", "ncnn"], "was exported for onnx, not for ncnn"),
        (["MODEL.NUM_CLASSES", "3"], "cannot be changed in the exported model"),
        (["DATASETS.TEST", "()"], "DATASETS.TEST is empty"),
    ],
)
def test_what_cannot_be_compared_is_named(folders, tmp_path, arguments, message, fails):
    options = ["--model", str(folders / "0"), "--weights", "0.pth", *arguments]
    fails(re.escape(message), compare_runtimes.main, options)
