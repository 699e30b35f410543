"""The C interface of demo/ncnn, called as any language can, against the Python code."""

import ctypes
import re
import shutil
import subprocess
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_size_t, c_void_p

import cv2
import numpy as np
import pytest

from mobileinst_core.runtime.model import ExportedModel

RGB, BGR, RGBA, BGRA, NV21, NV12 = range(6)


class Options(ctypes.Structure):
    _fields_ = (("clip_len", c_int), ("threads", c_int), ("fp16", c_int))


class Frame(ctypes.Structure):
    _fields_ = (
        ("pixels", c_void_p),
        ("width", c_int),
        ("height", c_int),
        ("row_stride", c_size_t),
        ("format", c_int),
        ("rotation", c_int),
        ("chroma", c_void_p),
    )


class Instance(ctypes.Structure):
    _fields_ = (
        ("id", c_int),
        ("class_index", c_int),
        ("class_name", c_char_p),
        ("score", c_float),
        *((name, c_int) for name in ("x0", "y0", "x1", "y1")),
        ("mask", POINTER(ctypes.c_uint8)),
    )


class Result(ctypes.Structure):
    _fields_ = (
        ("count", c_int),
        ("instances", POINTER(Instance)),
        ("is_keyframe", c_int),
        ("width", c_int),
        ("height", c_int),
        *((f"{name}_ms", c_double) for name in ("prepare", "network", "association", "masks")),
    )


@pytest.fixture(scope="module")
def library(ncnn_build):
    paths = list(ncnn_build.glob("libmobileinst.*so")) + list(
        ncnn_build.glob("libmobileinst.dylib")
    )
    library = ctypes.CDLL(str(paths[0]))
    library.mobileinst_open.restype = c_void_p
    library.mobileinst_open.argtypes = (c_char_p, POINTER(Options), c_char_p, c_size_t)
    library.mobileinst_step.restype = POINTER(Result)
    library.mobileinst_step.argtypes = (c_void_p, POINTER(Frame))
    for name in ("error", "class_name"):
        getattr(library, f"mobileinst_{name}").restype = c_char_p
    for name in ("error", "reset", "close", "num_classes", "input_width", "input_height"):
        getattr(library, f"mobileinst_{name}").argtypes = (c_void_p,)
    library.mobileinst_class_name.argtypes = (c_void_p, c_int)
    return library


class Tracker:
    """The library's tracker of the exported model."""

    def __init__(self, library, folder, **options):
        self.library = library
        self.handle = library.mobileinst_open(
            str(folder).encode(), byref(Options(**options)), None, 0
        )
        assert self.handle

    def step(self, pixels, width, height, **values):
        """Instances as (id, class, score, mask of the frame), or None after an error."""
        frame = Frame(width=width, height=height, **values)
        frame.pixels = None if pixels is None else pixels.ctypes.data
        result = self.library.mobileinst_step(self.handle, byref(frame))
        if not result:
            return None
        return [self.instance(result[0], i) for i in range(result[0].count)], result[0]

    def instance(self, result, number):
        x = result.instances[number]
        mask = np.zeros((result.height, result.width), bool)
        box = np.ctypeslib.as_array(x.mask, shape=(x.y1 - x.y0, x.x1 - x.x0))
        mask[x.y0 : x.y1, x.x0 : x.x1] = box
        return x.id, x.class_index, x.score, mask, x.class_name.decode()

    @property
    def error(self):
        return self.library.mobileinst_error(self.handle).decode()


@pytest.fixture
def tracker(library, exported_ncnn):
    tracker = Tracker(library, exported_ncnn)
    yield tracker
    library.mobileinst_close(tracker.handle)


def require_equal(found, expected, names):
    assert [x[0] for x in found] == expected.ids.tolist()
    assert [x[1] for x in found] == expected.classes.tolist()
    assert [x[2] for x in found] == pytest.approx(expected.scores.tolist(), abs=1e-3)
    assert [x[4] for x in found] == [names[x[1]] for x in found]
    for (*_, mask, _), theirs in zip(found, expected.masks, strict=True):
        assert (mask & theirs).sum() > 0.99 * (mask | theirs).sum()


CONVERSIONS = {
    RGB: cv2.COLOR_BGR2RGB,
    BGR: None,
    RGBA: cv2.COLOR_BGR2RGBA,
    BGRA: cv2.COLOR_BGR2BGRA,
}


@pytest.mark.parametrize(
    ("format", "rotation", "gap"), [(RGB, 0, 0), (BGR, 90, 5), (RGBA, 180, 16), (BGRA, 270, 1)]
)
def test_takes_frames_of_cameras(tracker, exported_ncnn, frames, format, rotation, gap):
    model = ExportedModel.load(exported_ncnn)
    expected = model.online_tracker()
    shown = 0
    for frame in frames:
        # np.rot90 turns counterclockwise: what is turned back by `rotation` clockwise.
        stored = np.rot90(frame, rotation // 90)
        stored = np.ascontiguousarray(stored)
        if CONVERSIONS[format] is not None:
            stored = cv2.cvtColor(stored, CONVERSIONS[format])
        height, width, depth = stored.shape
        rows = np.full((height, width * depth + gap), 77, np.uint8)
        rows[:, : width * depth] = stored.reshape(height, -1)
        stride = rows.shape[1] if gap else 0
        found, result = tracker.step(
            rows, width, height, row_stride=stride, format=format, rotation=rotation
        )
        require_equal(found, expected.step(frame), model.class_names)
        assert bool(result.is_keyframe) == expected.is_keyframe
        assert (result.height, result.width) == frame.shape[:2]
        assert min(result.prepare_ms, result.network_ms) > 0
        shown += len(found)
    assert shown > len(frames)


@pytest.mark.parametrize(("format", "is_apart"), [(NV21, False), (NV12, True)])
def test_takes_planes_of_luminance_and_chroma(tracker, exported_ncnn, frames, format, is_apart):
    model = ExportedModel.load(exported_ncnn)
    expected = model.online_tracker()
    for frame in frames[:4]:
        height, width = frame.shape[:2]
        # YCrCb of OpenCV is BT.601 in full range.
        luma, red, blue = cv2.split(cv2.cvtColor(frame, cv2.COLOR_BGR2YCrCb))
        pairs = [blue, red] if format == NV12 else [red, blue]
        chroma = np.dstack([x[::2, ::2] for x in pairs]).reshape(height // 2, width)
        # The second plane right after the first, or anywhere.
        planes = luma if is_apart else np.vstack([luma, chroma])
        values = {"chroma": chroma.ctypes.data} if is_apart else {}
        found, _ = tracker.step(
            np.ascontiguousarray(planes), width, height, format=format, **values
        )
        red, blue = (np.float32(x[::2, ::2]).repeat(2, 0).repeat(2, 1) - 128 for x in (red, blue))
        green = 0.344136 * blue + 0.714136 * red
        seen = luma[..., None] + np.dstack([1.772 * blue, -green, 1.402 * red])
        seen = np.rint(seen).clip(0, 255).astype(np.uint8)
        require_equal(found, expected.step(seen), model.class_names)


def test_begins_again_after_a_reset(tracker, library, frames):
    height, width = frames[0].shape[:2]
    first = [tracker.step(x, width, height, format=BGR)[0] for x in frames[:8]]
    library.mobileinst_reset(tracker.handle)
    again = [tracker.step(x, width, height, format=BGR)[0] for x in frames[:8]]
    assert [[x[:3] for x in found] for found in first] == [
        [x[:3] for x in found] for found in again
    ]
    assert max(x[0] for x in first[-1]) > len(first[0])


def test_errors_are_told_and_change_nothing(tracker, library, frames):
    frame = frames[0]
    height, width = frame.shape[:2]
    ids = [x[0] for x in tracker.step(frame, width, height, format=BGR)[0]]
    assert tracker.error == ""
    for arguments, values, message in (
        ((None, width, height), {}, "no pixels"),
        ((frame, 0, height), {}, "sides"),
        ((frame, width, 99999), {}, "sides"),
        ((frame, width, height), {"row_stride": 3}, "row stride"),
        ((frame, width, height), {"rotation": 45}, "rotation"),
        ((frame, width, height), {"format": 9}, "format"),
        ((frame, 63, height), {"format": NV21}, "even"),
    ):
        assert tracker.step(*arguments, **values) is None
        assert message in tracker.error
    assert not library.mobileinst_step(tracker.handle, None)
    assert "no frame" in tracker.error
    # The second frame reuses kernels, as if nothing had happened.
    found, result = tracker.step(frame, width, height, format=BGR)
    assert not result.is_keyframe
    assert [x[0] for x in found] == ids
    assert tracker.error == ""


def test_opening_fails_with_a_reason(library, exported_ncnn, tmp_path):
    error = ctypes.create_string_buffer(b"x" * 300, 300)
    assert not library.mobileinst_open(str(tmp_path).encode(), None, error, 300)
    assert str(tmp_path / "model.json") in error.value.decode()
    assert not library.mobileinst_open(str(tmp_path).encode(), None, error, 5)
    assert error.raw[4:6] == b"\0" + str(tmp_path).encode()[5:6]
    assert not library.mobileinst_open(None, None, None, 0)
    options = Options(threads=-1)
    assert not library.mobileinst_open(str(exported_ncnn).encode(), byref(options), error, 300)
    assert "negative" in error.value.decode()


def test_tells_of_the_model(tracker, library, exported_ncnn):
    model = ExportedModel.load(exported_ncnn)
    count = library.mobileinst_num_classes(tracker.handle)
    names = [library.mobileinst_class_name(tracker.handle, i) for i in range(count)]
    assert [x.decode() for x in names] == model.class_names
    assert library.mobileinst_class_name(tracker.handle, count) is None
    size = (
        library.mobileinst_input_height(tracker.handle),
        library.mobileinst_input_width(tracker.handle),
    )
    assert size == model.size


def test_nothing_but_the_c_interface_leaves_the_library(ncnn_build, repository):
    if shutil.which("nm") is None:
        pytest.skip("nm is missing")
    path = ncnn_build / "libmobileinst.so"
    listing = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True)
    symbols = {line.split()[-1] for line in listing.stdout.splitlines()}
    header = (repository / "demo" / "ncnn" / "mobileinst.h").read_text()
    declared = set(re.findall(r"(mobileinst_\w+)\(", header))
    assert {x for x in symbols if not x.startswith("_")} == declared
    assert not any("ncnn" in x for x in symbols)


def test_the_header_is_c(repository, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("a C compiler is missing")
    (tmp_path / "a.c").write_text('#include "mobileinst.h"\nint x = MOBILEINST_NV12;\n')
    command = ["cc", "-std=c99", "-pedantic", "-Wall", "-Werror", "-fsyntax-only"]
    folder = repository / "demo" / "ncnn"
    subprocess.run([*command, f"-I{folder}", tmp_path / "a.c"], check=True)
