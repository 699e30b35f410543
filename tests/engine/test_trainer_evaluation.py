"""Evaluation by the trainer: which predictor and which evaluator a test set gets."""

from collections import OrderedDict

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from toy_training import ToyNet, ToyTrainer, make_cfg

from mobileinst_d2.engine import trainer as trainer_module


class Collect(DatasetEvaluator):
    """Keeps what it is given."""

    def __init__(self):
        self.seen = []

    def process(self, inputs, outputs):
        self.seen += list(zip(inputs, outputs, strict=True))

    def evaluate(self):
        return OrderedDict(segm={"AP": float(len(self.seen))})


class FakePredictor:
    """Stands for the tracker."""

    def __init__(self, cfg, model):
        self.model = model

    def __call__(self, inputs):
        assert not self.model.training
        return ["video"]


@pytest.fixture
def two_test_sets(monkeypatch):
    names = ("toy_test_image", "toy_test_video")
    for name in names:
        DatasetCatalog.register(name, list)
        kind = "coco" if "image" in name else "ytvis"
        MetadataCatalog.get(name).set(evaluator_type=kind, thing_classes=["thing"])
    loader = [[{"image_id": 0}], [{"image_id": 1}]]
    monkeypatch.setattr(ToyTrainer, "build_test_loader", classmethod(lambda cls, cfg, name: loader))
    monkeypatch.setattr(trainer_module, "VideoPredictor", FakePredictor)
    monkeypatch.setattr(ToyNet, "forward", lambda self, inputs: ["image"])
    yield names
    for name in names:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


def test_videos_go_through_the_tracker_and_images_do_not(tmp_path, two_test_sets):
    cfg = make_cfg(tmp_path, "DATASETS.TEST", two_test_sets)
    model = ToyTrainer.build_model(cfg)
    model.train()
    evaluators = [Collect(), Collect()]
    results = ToyTrainer.test(cfg, model, evaluators)
    assert [output for _, output in evaluators[0].seen] == ["image", "image"]
    assert [output for _, output in evaluators[1].seen] == ["video", "video"]
    assert results["toy_test_video"] == {"segm": {"AP": 2.0}}
    assert model.training


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
    tmp_path, monkeypatch, two_test_sets, architecture, mask_on, tasks
):
    evaluators = {"coco": lambda name, **options: options}
    monkeypatch.setattr("mobileinst_d2.engine.evaluators.EVALUATORS", evaluators)
    cfg = make_cfg(tmp_path, "MODEL.META_ARCHITECTURE", architecture, "MODEL.MASK_ON", mask_on)
    options = ToyTrainer.build_evaluator(cfg, two_test_sets[0])
    assert options == {"output_dir": str(tmp_path / "inference"), "tasks": tasks}


@pytest.mark.parametrize("kind", [None, "lvis"])
def test_an_unknown_evaluator_is_named(tmp_path, kind):
    name = "toy_test_other"
    if kind:
        MetadataCatalog.get(name).evaluator_type = kind
    try:
        with pytest.raises(ValueError, match=f"'{name}' has evaluator_type={kind!r}.*'ytvis'"):
            ToyTrainer.build_evaluator(make_cfg(tmp_path), name)
    finally:
        MetadataCatalog.pop(name)
