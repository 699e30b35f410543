"""What the description of an exported folder must contain."""

import pytest

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


def break_shape(content):
    content["input"]["shape"] = [1, 3, 64]


def break_graphs(content):
    content["graphs"] = []


def escape(content):
    graph = content["graphs"]["keyframe"]
    graph["files"] = {f"../{name}": digest for name, digest in graph["files"].items()}


def drop(*keys):
    def change(content):
        *path, last = keys
        for key in path:
            content = content[key]
        del content[last]

    return change


def other_outputs(**shapes):
    def change(content):
        for graph in content["graphs"].values():
            for name in graph["outputs"].keys() & shapes.keys():
                graph["outputs"][name]["shape"] = shapes[name]

    return change


def swap_kernels_and_features(content):
    outputs = content["graphs"]["keyframe"]["outputs"]
    first, second = "kernels", "mask_features"
    outputs[first], outputs[second] = outputs[second], outputs[first]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("class_names"), "has no 'class_names'"),
        (drop("input", "pad_value"), "pad_value"),
        (drop("graphs", "keyframe", "outputs", "scores", "shape"), "shape"),
        (break_shape, r"input\.shape"),
        (break_graphs, "graphs"),
        (escape, r"graphs\.keyframe\.files"),
        (lambda content: content.update(format_version=1), "format_version 1, .* reads 4: export"),
        (lambda content: content.update(mask_stride=4), "mask_features"),
        (lambda content: content.update(mask_stride=5), "mask_features"),
        (lambda content: content.update(mask_stride=0), "mask_stride"),
        (lambda content: content.update(class_names=["fox", "owl"]), "category_ids"),
        (drop("thresholds", "mask"), "mask"),
        (drop("thresholds", "tracking", "clip_len"), "clip_len"),
        (drop("thresholds", "streaming"), "streaming"),
        (lambda content: content["thresholds"].update(mask=[0.5]), r"thresholds\.mask"),
        (drop("input", "normalization"), "normalization"),
        (lambda content: content["input"].update(normalization="outside"), "normalization"),
        (other_outputs(mask_features=[1, 16, 8, 15]), r"graphs\.keyframe\.outputs\.mask_features"),
        (other_outputs(mask_features=[1, 16, 8]), r"graphs\.keyframe\.outputs\.mask_features"),
        (other_outputs(kernels=[1, 16, 16]), r"graphs\.keyframe\.outputs\.scores"),
        (other_outputs(scores=[1, 20, 5]), r"graphs\.keyframe\.outputs\.scores"),
        (swap_kernels_and_features, r"graphs\.keyframe\.outputs\.(kernels|mask_features)"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_named(folder, edit_manifest, change, message):
    edit_manifest(change)
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
