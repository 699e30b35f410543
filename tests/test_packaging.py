"""An installed package, away from the clone: configs, commands, the part without PyTorch."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import PathFinder

import pytest

needs_pip = pytest.mark.skipif(
    # Not importlib.util.find_spec: setuptools' import hook takes that for a start of pip.
    any(PathFinder.find_spec(name) is None for name in ("pip", "setuptools")),
    reason="pip and setuptools are needed, as nothing may be downloaded",
)
SOURCES = ("mobileinst_core", "mobileinst_d2", "configs", "setup.py", "pyproject.toml")
SOURCES += ("README.md", "LICENSE", "MANIFEST.in")


def run(*command, **options):
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(repository, tmp_path_factory):
    """A copy of what is packaged, as building leaves files behind."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    for name in SOURCES:
        path = repository / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=ignored)
        else:
            shutil.copy(path, folder / name)
    return folder


def build(project, folder):
    """The wheel of a project."""
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run("-m", "pip", "wheel", *options, "--wheel-dir", folder, project)
    (wheel,) = folder.iterdir()
    return wheel


def install(wheel, folder):
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("wheel"))


@needs_pip
def test_the_wheel_holds_both_packages_the_configs_and_the_licence(wheel, repository):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith("METADATA"))
        assert "License-Expression: Apache-2.0" in archive.read(metadata).decode() or (
            "License: Apache-2.0" in archive.read(metadata).decode()
        )
    assert {"mobileinst_core/__init__.py", "mobileinst_d2/__init__.py"} <= names
    assert [name for name in names if name.endswith("dist-info/licenses/LICENSE")]
    for path in (repository / "configs").rglob("*.yaml"):
        assert f"mobileinst_d2/{path.relative_to(repository).as_posix()}" in names


@needs_pip
def test_an_installed_package_works_in_any_folder(wheel, tmp_path):
    site = install(wheel, tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    code = """
import contextlib, importlib.metadata, io, sys
from pathlib import Path

import mobileinst_d2
# Which the command that evaluates files does without.
assert mobileinst_d2.add_mobileinst_config and sys.modules["torch"]
import mobileinst_d2.model_zoo
from mobileinst_d2.engine import Trainer, setup_cfg

site = Path(sys.argv[1])
assert Path(mobileinst_d2.__file__).is_relative_to(site)
name = "mobileinst/mobileinst_topformer-b_coco.yaml"
assert Path(mobileinst_d2.model_zoo.get_config_file(name)).is_relative_to(site)
assert setup_cfg(name).MODEL.META_ARCHITECTURE == "MobileInst"
# SparseInst's public code needs timm for every backbone.
resnet = "sparseinst/sparseinst_r50_iam_coco.yaml"
Trainer.build_model(setup_cfg(resnet, ["MODEL.DEVICE", "cpu"]))
assert "timm" not in sys.modules
(distribution,) = importlib.metadata.distributions(name="mobileinst_d2", path=[str(site)])
for entry in distribution.entry_points:
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        entry.load()(["--help"])
    assert "usage:" in printed.getvalue(), entry
    print(entry.name)
"""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    printed = run("-c", code, site, cwd=tmp_path / "elsewhere", env=environment)
    names = ("train", "finetune", "demo", "export", "evaluate", "install-detectron2")
    assert set(printed.split()) == {f"mobileinst-{name}" for name in names}
    assert list((tmp_path / "elsewhere").iterdir()) == []
    for name in printed.split():
        assert (site / "bin" / name).is_file() or (site / "Scripts" / f"{name}.exe").is_file()
