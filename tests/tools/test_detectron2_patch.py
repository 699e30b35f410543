"""The patch of Detectron2, against the true source archive and in the installed package."""

import ast
import importlib.metadata
import json
import os
import re
from pathlib import Path

import pytest
import torch

from mobileinst_core.detectron2_patch import PATCH, SOURCE
from mobileinst_core.errors import UserError
from mobileinst_core.install_detectron2 import build_source, fetch_archive


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The patched files, of DETECTRON2_SDIST or of what the package registry gives."""
    file = os.environ.get("DETECTRON2_SDIST")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_RETRIES", "0")
        patch.setenv("PIP_DEFAULT_TIMEOUT", "10")
        try:
            content = Path(file).read_bytes() if file else fetch_archive(*SOURCE)
        except UserError as error:
            pytest.skip(f"no source archive: {error}")
    folder = tmp_path_factory.mktemp("patched")
    build_source(content, folder)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in paths}


def test_nothing_outdated_is_left(files):
    outdated = re.compile(
        r"\bnp\.(bool|int|float|str|object)\b|_LRScheduler\b|pkg_resources|Image\.LINEAR|"
        r"torch\.cuda\.amp|from detectron2 import _C"
    )
    left = {path for path, text in files.items() if outdated.search(text)}
    # These two test whether the operators are there.
    assert left == {"detectron2/utils/c_ops.py", "detectron2/evaluation/fast_eval_api.py"}


def test_every_module_is_valid_python(files):
    for path, text in files.items():
        if path.endswith(".py"):
            ast.parse(text, path)


def test_configs_projects_and_the_licence_are_there(files):
    configs = "detectron2/model_zoo/configs"
    assert f"{configs}/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml" in files
    assert f"{configs}/common/models/mask_rcnn_fpn.py" in files
    assert "detectron2/projects/point_rend/point_features.py" in files
    assert "Apache License" in files["LICENSE"]
    others = {path for path in files if not path.startswith("detectron2/")}
    assert others == {"LICENSE", "pyproject.toml"}
    # pip refuses a dependency by address, and nothing resolves these.
    for dropped in ("@", "black", "future", "pydot", "panopticapi"):
        assert dropped not in files["pyproject.toml"]


def test_changed_files_end_with_a_note(files):
    noted = {path for path, text in files.items() if "\n# Modified by the mobileinst" in text}
    assert noted == set(PATCH)


def installed_build():
    try:
        return "+pure." in importlib.metadata.version("detectron2")
    except importlib.metadata.PackageNotFoundError:
        return False


if_installed = pytest.mark.skipif(not installed_build(), reason="another Detectron2 is installed")


@if_installed
def test_missing_operator_names_itself():
    from detectron2.layers.rotated_boxes import pairwise_iou_rotated

    with pytest.raises(ImportError):
        from detectron2 import _C  # noqa: F401
    with pytest.raises(ImportError, match=r"box_iou_rotated is not available.*official source"):
        pairwise_iou_rotated(torch.zeros(1, 5), torch.zeros(1, 5))


@pytest.fixture
def one_box_dataset(tmp_path):
    """A COCO set of one image with one box of ten pixels."""
    from detectron2.data import MetadataCatalog

    box = {"bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "height": 20, "width": 20, "file_name": "image.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **box}],
    }
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    name = "install_test_one_box"
    metadata = MetadataCatalog.get(name)
    metadata.set(json_file=str(file), thing_dataset_id_to_contiguous_id={1: 0})
    metadata.set(thing_classes=["cat"])
    yield name
    MetadataCatalog.remove(name)


@if_installed
def test_coco_evaluation_falls_back_to_pycocotools(one_box_dataset):
    from detectron2.evaluation import COCOEvaluator
    from detectron2.structures import Boxes, Instances

    instances = Instances((20, 20), pred_boxes=Boxes(torch.tensor([[1.0, 2.0, 11.0, 12.0]])))
    instances.scores, instances.pred_classes = torch.tensor([0.9]), torch.tensor([0])
    evaluator = COCOEvaluator(one_box_dataset, tasks=("bbox",), distributed=False)
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [{"instances": instances}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)


@if_installed
def test_class_histogram_is_printed(monkeypatch):
    from detectron2.data import build

    messages = []
    monkeypatch.setattr(build, "log_first_n", lambda level, text, **_: messages.append(text))
    build.print_instances_class_histogram([{"annotations": [{"category_id": 1}]}], ["cat", "dog"])
    assert re.search(r"cat +\| 0 +\| +dog +\| 1 ", messages[0])


@if_installed
def test_model_zoo_finds_its_configs():
    from detectron2 import model_zoo

    config = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    assert config.MODEL.META_ARCHITECTURE == "GeneralizedRCNN"


@if_installed
def test_state_of_torch_schedulers_is_saved():
    from detectron2.engine.hooks import LRScheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    hook = LRScheduler(optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 3))
    assert hook.state_dict()["step_size"] == 3


@if_installed
def test_export_imports_without_caffe2():
    from detectron2 import export

    assert hasattr(export, "TracingAdapter")
    assert not hasattr(export, "Caffe2Tracer")


@if_installed
def test_environment_report_runs():
    from detectron2.utils.collect_env import collect_env_info

    assert re.search(r"detectron2 +0\.6 @", collect_env_info())
