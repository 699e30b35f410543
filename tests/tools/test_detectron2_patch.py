"""The patch of Detectron2, against the true source archive and in the installed package."""

import importlib.metadata
import os
import re
from pathlib import Path

import pytest
import torch

from mobileinst_core.detectron2_patch import SOURCE
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
