"""Which evaluator and predictor a test set gets."""

import pytest
from detectron2.data import MetadataCatalog
from small_network import build_small_network
from toy_training import ToyTrainer, make_cfg

from mobileinst_core.errors import ConfigError


@pytest.mark.parametrize(
    ("architecture", "mask_on", "tasks"),
    [
        ("MobileInst", True, ("segm",)),
        ("RetinaNet", False, ("bbox",)),
        ("GeneralizedRCNN", False, ("bbox",)),
        ("GeneralizedRCNN", True, ("bbox", "segm")),
    ],
)
def test_images_are_evaluated_on_what_the_network_predicts(
    tmp_path, monkeypatch, architecture, mask_on, tasks
):
    name = "toy_test_image"
    MetadataCatalog.get(name).set(evaluator_type="coco")
    evaluators = {"coco": lambda name, **options: options}
    monkeypatch.setattr("mobileinst_d2.engine.evaluators.EVALUATORS", evaluators)
    cfg = make_cfg(tmp_path, "MODEL.META_ARCHITECTURE", architecture, "MODEL.MASK_ON", mask_on)
    options = ToyTrainer.build_evaluator(cfg, name)
    assert options == {"output_dir": str(tmp_path / "inference"), "tasks": tasks}


@pytest.mark.parametrize("kind", [None, "lvis"])
def test_an_unknown_evaluator_is_named(tmp_path, kind):
    name = "toy_test_other"
    if kind:
        MetadataCatalog.get(name).evaluator_type = kind
    with pytest.raises(ValueError, match=f"'{name}' has evaluator_type={kind!r}.*'ytvis'"):
        ToyTrainer.build_evaluator(make_cfg(tmp_path), name)


def test_videos_are_not_trained_towards_if_they_cannot_be_predicted(tmp_path, monkeypatch):
    monkeypatch.setattr("mobileinst_d2.engine.trainer.check_test_data", lambda cfg: None)
    MetadataCatalog.get("toy_video").set(evaluator_type="ytvis", thing_classes=["thing"])
    cfg = make_cfg(tmp_path, "DATASETS.TEST", ("toy_video",))
    with pytest.raises(ConfigError, match=r"ToyNet .* cannot track the videos of 'toy_video'"):
        ToyTrainer(cfg)
    cfg.TEST.TRACKING.CLIP_LEN = 0
    with pytest.raises(ConfigError, match="clip_len is 0"):
        ToyTrainer.build_predictor(cfg, build_small_network(), "toy_video")


def test_an_unknown_network_is_told_without_a_traceback(tmp_path):
    with pytest.raises(ConfigError, match=r"the model cannot be built: .*'Nothing'"):
        ToyTrainer(make_cfg(tmp_path, "MODEL.META_ARCHITECTURE", "Nothing"))
