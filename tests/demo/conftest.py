"""Fixtures for the examples in other languages: an exported model, and frames."""

import fcntl
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny_models import build_lively_model, noise_image, tiny_config

from mobileinst_d2.export import export_model
from mobileinst_d2.export.verify import TOLERANCES
from mobileinst_d2.utils.classes import save_class_names

SIZE = (128, 192)
NAMES = ["ant", 'a "bee"', "löwe 🦁", "back\\slash"]
# Settings and a seed with which instances come, go and change their order, no score is so near
# another one or a threshold that rounding could decide, and no mask is of a few pixels only.
SEED = 54
SETTINGS = {
    "MODEL__MOBILEINST__INSTANCE_DECODER__NUM_QUERIES": 8,
    "INPUT__FIXED_SIZE_TEST": SIZE,
    "TEST__TRACKING__CLIP_LEN": 2,
    "TEST__STREAMING__SCORE_ON": 0.5,
    "TEST__STREAMING__SCORE_OFF": 0.45,
    "TEST__STREAMING__MAX_LOST": 0,
}


@pytest.fixture(scope="package")
def export_example(tmp_path_factory):
    """The folder for a runtime. The network has the layers of any TopFormer MobileInst."""

    def export(runtime):
        folder = tmp_path_factory.mktemp("exported")
        save_class_names(folder, NAMES)
        cfg = tiny_config(MODEL__WEIGHTS=str(folder / "model.pth"), **SETTINGS)
        model = build_lively_model(SEED, **SETTINGS)
        with pytest.MonkeyPatch.context() as patch:
            # The values in this network are larger than those of trained ones.
            patch.setitem(TOLERANCES, "fp32", 1e-3)
            export_model(model, cfg, SIZE, runtime, folder / runtime)
        return folder / runtime

    return export


@pytest.fixture(scope="package")
def exported_ncnn(export_example):
    """A folder made for ncnn."""
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    return export_example("ncnn")


@pytest.fixture(scope="package")
def ncnn_build(repository):
    """Folder of the compiled example; ncnn is built for it once, in the folder for such things."""
    for name in ("cmake", "c++"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is missing")
    tools, folder = repository / "tools", repository / "build" / "ncnn_quick"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(tools / "build_ncnn_example.py"), "--quick"]
    with open(folder / ".lock", "w") as lock:  # for processes that run tests at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([*command, "--output", str(folder)], capture_output=True, text=True)
    if "pip cannot fetch" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return folder / "example"


@pytest.fixture(scope="package")
def frames():
    """Ten frames of a camera that moves, with a cut; the last ones have another size."""
    scenes = [noise_image(260, 420, seed).permute(1, 2, 0).numpy() for seed in (1, 5)]
    height, width = 150, 240
    result = []
    for t in range(8):
        y, x = 6 * t, 12 * t
        result.append(np.ascontiguousarray(scenes[t >= 5][y : y + height, x : x + width]))
    return [*result, scenes[1][:100, :70].copy(), scenes[0][:90, :100].copy()]
