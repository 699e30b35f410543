"""Which evaluator and predictor a test set gets."""

import pytest
from detectron2.data import MetadataCatalog
from small_network import build_small_network
from toy_training import ToyTrainer, make_cfg

from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine.best_checkpoint import check_metric


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


@pytest.mark.parametrize(
    ("opts", "metric", "known"),
    [
        ((), "segm/APP", "segm/AP, segm/AP50, .*, segm/APl, and AP-<class>"),
        ((), "segm/AR1", "segm/AP, "),
        ((), "segm/AP-shark", "segm/AP, "),
        ((), "bbox/AP", "segm/AP, "),
        (("MODEL.META_ARCHITECTURE", "YOLACT"), "mask/AP", "bbox/AP, .*, segm/APl"),
        (("DATASETS.TEST", ("toy_images", "toy_more")), "segm/AP", "toy_images/segm/AP, .* toy_mo"),
    ],
)
def test_a_metric_that_no_evaluation_gives_is_told_before_the_training(
    tmp_path, monkeypatch, opts, metric, known
):
    for name in ("toy_images", "toy_more"):
        MetadataCatalog.get(name).set(evaluator_type="coco", thing_classes=["cat", "dog"])
    opts = ("MODEL.META_ARCHITECTURE", "SparseInst", "DATASETS.TEST", ("toy_images",), *opts)
    cfg = make_cfg(tmp_path, *opts, "TEST.BEST_METRIC", metric)
    with pytest.raises(ConfigError, match=f"BEST_METRIC '{metric}' is none .* which are {known}"):
        check_metric(cfg)
    for good in ("", "segm/AP-dog", "toy_more/segm/AP-cat (1)"):
        cfg.TEST.BEST_METRIC = good
        cfg.DATASETS.TEST = ("toy_images", "toy_more") if "toy" in good else ("toy_images",)
        check_metric(cfg)


def test_the_metric_is_looked_at_before_the_training(tmp_path, monkeypatch):
    """Unless evaluators of one's own give it."""
    monkeypatch.setattr("mobileinst_d2.engine.trainer.check_test_data", lambda cfg: None)
    opts = ("TEST.BEST_METRIC", "segm/IoU", "DATASETS.TEST", ("toy_engine_train",))
    cfg = make_cfg(tmp_path, *opts, "TEST.EVAL_PERIOD", 2)
    with pytest.raises(ConfigError, match="'segm/IoU' is none of the metrics"):
        ToyTrainer(cfg)
    for name in ("build_evaluator", "test"):
        with monkeypatch.context() as patch:
            patch.setattr(ToyTrainer, name, classmethod(lambda *_: None))
            ToyTrainer(cfg)


def test_an_unknown_network_is_told_without_a_traceback(tmp_path):
    with pytest.raises(ConfigError, match=r"the model cannot be built: .*'Nothing'.*import"):
        ToyTrainer(make_cfg(tmp_path, "MODEL.META_ARCHITECTURE", "Nothing"))
