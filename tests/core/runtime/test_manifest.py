"""What the description of an exported folder must contain."""

import pytest
from annotation_files import change

from mobileinst_core.runtime.manifest import read_manifest
from mobileinst_core.runtime.runners import ExportError


def test_folders_that_are_none_are_named(folder, tmp_path):
    with pytest.raises(ExportError, match=r"there is no folder .*gone"):
        read_manifest(tmp_path / "gone")
    (folder / "model.json").unlink()
    with pytest.raises(ExportError, match=r"exported is no exported model: it has no model\.json"):
        read_manifest(folder)
    (folder / "model.json").write_text('{"name": "someone else\'s"}')
    with pytest.raises(ExportError, match=r"was not written by tools/export\.py"):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_damaged_manifest_is_named(folder, content):
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.json"):
        read_manifest(folder)


OUTPUTS = "graphs.keyframe.outputs"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("class_names", KeyError, "has no 'class_names'"),
        ("class_names", ["fox", "owl"], "category_ids"),
        ("input.pad_value", KeyError, "pad_value"),
        ("input.shape", [1, 3, 64], r"input\.shape"),
        ("input.normalization", KeyError, "normalization"),
        ("input.normalization", "outside", "normalization"),
        ("format_version", 1, "format_version 1, .* reads 4: export"),
        ("mask_stride", 4, "mask_features"),
        ("mask_stride", 5, "mask_features"),
        ("mask_stride", 0, "mask_stride"),
        ("thresholds.mask", KeyError, "mask"),
        ("thresholds.mask", [0.5], r"thresholds\.mask"),
        ("thresholds.tracking.clip_len", KeyError, "clip_len"),
        ("thresholds.streaming", KeyError, "streaming"),
        ("graphs", [], "graphs"),
        ("graphs.keyframe.files", {"../keyframe.ncnn.bin": 1}, r"graphs\.keyframe\.files"),
        (f"{OUTPUTS}.scores.shape", KeyError, "shape"),
        (f"{OUTPUTS}.scores.shape", [1, 20, 5], rf"{OUTPUTS}\.scores"),
        (f"{OUTPUTS}.kernels.shape", [1, 16, 16], rf"{OUTPUTS}\.scores"),
        (f"{OUTPUTS}.mask_features.shape", [1, 16, 8, 15], rf"{OUTPUTS}\.mask_features"),
        (f"{OUTPUTS}.mask_features.shape", [1, 16, 8], rf"{OUTPUTS}\.mask_features"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_named(folder, edit_manifest, path, value, message):
    edit_manifest(lambda content: change(content, path, value))
    with pytest.raises(ExportError, match=rf"model\.json.*{message}"):
        read_manifest(folder)


def test_a_file_that_is_not_the_one_described_is_named(folder):
    path = folder / "keyframe.ncnn.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(
        ExportError,
        match=rf"keyframe\.ncnn\.bin is not the .* {len(data) - 1} bytes instead of {len(data)}",
    ):
        read_manifest(folder)
    path.unlink()
    with pytest.raises(ExportError, match=r"graph 'keyframe' is missing.*keyframe\.ncnn\.bin"):
        read_manifest(folder)
