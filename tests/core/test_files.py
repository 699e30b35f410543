"""Files are written whole or not at all, and errors name them."""

import pytest

from mobileinst_core.errors import UserError
from mobileinst_core.files import read_json, replacing, write_json


def test_json_round_trip_makes_the_folder(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"name": "Käfer", "values": [1, None]})
    assert read_json(path) == {"name": "Käfer", "values": [1, None]}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})

    def write_half():
        with replacing(path) as partial:
            partial.write_text("half")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_read(tmp_path, encoding):
    (tmp_path / "a.json").write_text('{"name": "Käfer"}', encoding=encoding)
    assert read_json(tmp_path / "a.json") == {"name": "Käfer"}


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "half.json"
    for text in ('{"a": 1', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(UserError, match=r"half\.json is not valid JSON"):
            read_json(path)
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.json: No such file"):
        read_json(tmp_path / "nowhere.json")
