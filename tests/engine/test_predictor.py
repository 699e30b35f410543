"""Loading a trained model, and what is said when that fails."""

import pytest
import torch
from tiny_models import FEW_LAYERS, build_lively_model, noise_image, tiny_config

from mobileinst_d2.engine.predictor import Predictor, load_predictor


def test_the_weights_are_loaded_and_the_model_is_ready(tmp_path):
    model = build_lively_model(**FEW_LAYERS)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    cfg = tiny_config(**FEW_LAYERS, MODEL__WEIGHTS=str(tmp_path / "model.pth"))
    predictor = load_predictor(cfg)
    assert not predictor.model.training
    assert cfg.MODEL.WEIGHTS  # is left as it was
    image = noise_image(96, 128)
    with torch.no_grad():
        expected = model([{"image": image}])[0]["instances"]
        found = predictor.model([{"image": image}])[0]["instances"]
    assert len(found) > 0
    assert torch.equal(found.scores, expected.scores)


def test_what_is_no_image_is_refused():
    predictor = Predictor(tiny_config(**FEW_LAYERS), build_lively_model(**FEW_LAYERS))
    with pytest.raises(ValueError, match=r"must be an image in BGR.*got NoneType"):
        predictor(None)  # what OpenCV reads from a missing file


def test_an_image_is_prepared_as_in_evaluation():
    model, seen = build_lively_model(**FEW_LAYERS), []
    predictor = Predictor(
        tiny_config(**FEW_LAYERS), lambda items: seen.extend(items) or model(items)
    )
    frame = noise_image(192, 300).permute(1, 2, 0).numpy()  # BGR
    detections = predictor.predict(frame)
    assert detections.image_size == (192, 300)
    assert len(detections) > 0
    instances = predictor(frame)["instances"]  # as Detectron2's DefaultPredictor
    assert torch.equal(instances.pred_masks, torch.from_numpy(detections.masks))
    item, _ = seen
    assert item["image"].shape == (3, 96, 150)  # INPUT.MIN_SIZE_TEST
    mean = item["image"].flatten(1).float().mean(1)
    assert mean == pytest.approx(frame.mean((0, 1))[::-1], abs=1.0)  # RGB
