"""YouTube-VIS files as data sets of Detectron2: registration, and the classes in the metadata."""

import pytest
from annotation_files import make_content
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_core.errors import UserError
from mobileinst_d2.data.datasets.ytvis import load_ytvis_json, register_ytvis_instances


@pytest.fixture
def content():
    return make_content()


def test_other_classes_under_a_known_name_are_refused(write_json, content):
    load_ytvis_json(write_json(content), "images", "known")
    content["categories"][0]["name"] = "cow"
    with pytest.raises(UserError, match="position 2 the file has 'cow', expected 'cat'"):
        load_ytvis_json(write_json(content), "images", "known")


def test_registration_reads_nothing_and_may_be_repeated(write_json, content, tmp_path):
    path = tmp_path / "instances.json"
    for _ in range(2):
        register_ytvis_instances("lazy", {"note": "x"}, path, tmp_path)
    metadata = MetadataCatalog.get("lazy")
    assert (metadata.evaluator_type, metadata.json_file) == ("ytvis", str(path))
    write_json(content)
    assert DatasetCatalog.get("lazy")[0]["video_id"] == 70
    assert metadata.thing_classes == ["ant", "bee", "cat"]
