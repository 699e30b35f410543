import os
import re
import sys
import venv

import pytest

from mobileinst_core.detectron2_probe import Environment, probe

PARTS = ("config", "data", "engine", "evaluation", "layers", "modeling", "structures", "checkpoint")
WORKING_TORCH = {
    "torch.py": "def zeros(*size):\n    return size\n",
    "torchvision.py": "class ops:\n    nms = staticmethod(lambda *arguments: arguments)\n",
}
WORKING_DETECTRON2 = {
    "detectron2/__init__.py": "",
    **{f"detectron2/{part}.py": "" for part in PARTS},
}
METADATA = "Metadata-Version: 2.1\nName: detectron2\nVersion: 0.6+pure.3\n"


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python without any package."""
    folder = tmp_path_factory.mktemp("bare")
    builder = venv.EnvBuilder(symlinks=sys.platform != "win32")
    builder.create(folder)
    return builder.ensure_directories(folder).env_exe


@pytest.fixture
def probe_with(bare_python, tmp_path, monkeypatch):
    """Probes a Python whose PYTHONPATH holds the given files."""

    def run(files, search_path=None):
        for name, text in files.items():
            path = tmp_path / "site" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(sys, "executable", str(bare_python))
        monkeypatch.setenv("PYTHONPATH", search_path or str(tmp_path / "site"))
        return probe()

    return run


TORCH = {"torch.py": WORKING_TORCH["torch.py"]}
NO_NMS = "class ops:\n    @staticmethod\n    def nms(*_):\n        raise RuntimeError('no nms')\n"
NOISE = "import sys\nprint('noise', end='')\nsys.stdout.flush()\n"
CRASH = "import os, sys\nprint('last words', file=sys.stderr, flush=True)\nos._exit(7)\n"
FAULT = {"detectron2/engine.py": "raise ImportError('undefined symbol')\n"}


@pytest.mark.parametrize(
    ("files", "step", "error"),
    [
        ({"other.py": ""}, "torch", "^ModuleNotFoundError: No module named 'torch'$"),
        (TORCH, "torchvision", "^ModuleNotFoundError: No module named 'torchvision'$"),
        ({**TORCH, "torchvision.py": NO_NMS}, "torchvision", "^RuntimeError: no nms$"),
        ({**WORKING_TORCH, "torchvision.py": CRASH}, "torchvision", r"exit code 7\. last words"),
        ({**WORKING_TORCH, **WORKING_DETECTRON2, **FAULT}, "detectron2", "undefined symbol$"),
    ],
    ids=["nothing", "torch alone", "no operators", "crash", "broken Detectron2"],
)
def test_what_does_not_work_is_told(probe_with, tmp_path, files, step, error):
    environment = probe_with(files)
    (found,) = environment.errors.items()
    assert found[0] == step
    assert re.search(error, found[1])
    if step == "detectron2":
        assert environment.path == str(tmp_path / "site" / "detectron2")


@pytest.mark.parametrize(
    "files", [{}, {"torch.py": NOISE + TORCH["torch.py"]}, {"detectron2/notes.txt": ""}]
)
def test_without_detectron2_there_is_nothing_to_tell(probe_with, files):
    assert probe_with({**WORKING_TORCH, **files}) == Environment()


@pytest.mark.parametrize(
    ("file", "own_build", "words"),
    [
        ("detectron2/notes.txt", None, "from a source folder (without C++ operators)"),
        ("detectron2/_C.py", None, "(with C++ operators)"),
        ("detectron2-0.6+pure.3.dist-info/METADATA", 3, "0.6+pure.3"),
    ],
)
def test_what_is_there_is_described(probe_with, tmp_path, file, own_build, words):
    environment = probe_with(
        {**WORKING_TORCH, **WORKING_DETECTRON2, file: METADATA * bool(own_build)}
    )
    assert not environment.errors
    assert environment.path == str(tmp_path / "site" / "detectron2")
    assert environment.own_build == own_build
    assert words in environment.describe()


def test_source_folder_that_hides_an_installed_build(probe_with, tmp_path):
    source, site = tmp_path / "site" / "source", tmp_path / "site"
    environment = probe_with(
        {
            **WORKING_TORCH,
            **WORKING_DETECTRON2,
            **{f"source/{name}": text for name, text in WORKING_DETECTRON2.items()},
            "detectron2-0.6+pure.3.dist-info/METADATA": METADATA,
        },
        search_path=os.pathsep.join([str(source), str(site)]),
    )
    assert environment == Environment(path=str(source / "detectron2"))


def test_current_folder_does_not_count(probe_with, tmp_path, monkeypatch):
    decoy = tmp_path / "work" / "detectron2"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise RuntimeError('decoy')\n", encoding="utf-8")
    monkeypatch.chdir(decoy.parent)
    assert probe_with(WORKING_TORCH) == Environment()
