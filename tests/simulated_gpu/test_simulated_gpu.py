"""Training, videos and streams on a pretended GPU, where its tools are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def found(repository, tmp_path_factory):
    """What `session.py` tells."""
    runner = repository.parent / "shared" / "tools" / "simulated_gpu" / "run.sh"
    # Where pip puts Ninja.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    needed = ("bash", "g++", "ninja")
    if not runner.is_file() or not all(shutil.which(name, path=path) for name in needed):
        pytest.skip("the pretended GPU, or what builds it, is not here")
    if torch.version.cuda is None:
        pytest.skip("this PyTorch was built without CUDA")
    # Built once; it takes a minute.
    build = os.environ.get("SIMULATED_GPU_BUILD", str(repository / "output" / "simulated_gpu"))
    paths = os.pathsep.join(map(str, (repository, repository / "tests")))
    run = subprocess.run(
        [str(runner), sys.executable, str(repository / "tests" / "simulated_gpu" / "session.py")],
        env=os.environ | {"PATH": path, "PYTHONPATH": paths, "SIMULATED_GPU_BUILD": build},
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.split("\nFOUND ")[1])


@pytest.mark.parametrize("kind", ["clips", "amp"])
def test_a_training_step_waits_for_the_gpu_a_few_times(found, kind):
    assert 0 < found[kind] < 30


def test_a_stream_is_saved_on_the_cpu_and_goes_on_there(found):
    assert set(found["cuda"]["state"]) <= {"int", "ndarray"}
    assert found["cuda"]["shown"] == found["cpu"]["shown"]
    assert found["cuda"]["tracks"] == found["cpu"]["tracks"] > 0


def test_no_mask_of_the_size_of_the_frame_moves(found):
    stream = found["stream"]
    height, width = stream["size"]
    assert stream["instances"] > 0
    ups = [size for way, size in stream["moved"] if way == "up"]
    downs = [size for way, size in stream["moved"] if way == "down"]
    assert ups
    assert downs
    assert all(size[-2:] != [height, width] for size in ups + downs)
    # The image is prepared before it goes up; what comes down are small logits, never masks.
    assert max(size[-1] for size in downs if len(size) == 3) <= width // 8


@pytest.mark.parametrize("system", ["sparseinst", "fastinst", "yolact"])
def test_other_systems_train_and_predict_there_and_wait_a_few_times(found, system):
    of_system = found["systems"][system]
    assert of_system["finite"]
    assert of_system["on_device"]
    # With two images, before the optimizer; FastInst matches each of its heads.
    assert 0 < of_system["synchronisations"] <= 16
