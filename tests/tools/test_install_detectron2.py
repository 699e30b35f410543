import dataclasses
import hashlib
import os
import subprocess
import sys

import install_detectron2
import pytest
from detectron2_archives import FILES, make_recipe, make_sdist
from detectron2_edits import BUILD
from detectron2_probe import Environment
from detectron2_wheel import InstallError
from install_detectron2 import fetch_sdist, has_pip, main

needs_pip = pytest.mark.skipif(not has_pip(), reason="this Python has no pip")

OURS = Environment(path="/site/detectron2", version=f"0.6+pure.{BUILD}")
OLDER = dataclasses.replace(OURS, version=f"0.6+pure.{BUILD - 1}")
NEWER = dataclasses.replace(OURS, version=f"0.6+pure.{BUILD + 1}")
OFFICIAL = Environment(path="/site/detectron2", version="0.6", compiled=True)


def broken(environment):
    return dataclasses.replace(environment, errors={"detectron2": "ImportError: undefined symbol"})


class Machine:
    """Plays the environment and pip; notes what pip is asked to do."""

    def __init__(self, before, after=OURS, pip_works=True):
        self.environments = [before, after]
        self.pip_works = pip_works
        self.calls = []

    def probe(self):
        return self.environments.pop(0)

    def run_pip(self, *arguments, **_):
        self.calls.append(arguments)
        return self.pip_works


@pytest.fixture
def run_on(monkeypatch, tmp_path):
    """Runs the command on a played machine, with a small archive in place of Detectron2's."""
    sdist = make_sdist()
    archive = tmp_path / "source.tar.gz"
    archive.write_bytes(sdist)
    save_wheel = install_detectron2.save_wheel

    def run(machine, *arguments):
        monkeypatch.setattr(install_detectron2, "probe", machine.probe)
        monkeypatch.setattr(install_detectron2, "run_pip", machine.run_pip)
        monkeypatch.setattr(
            install_detectron2,
            "save_wheel",
            lambda folder, file: save_wheel(folder, file, make_recipe(sdist)),
        )
        return main([*arguments, "--sdist", str(archive)])

    return run


@pytest.mark.parametrize("environment", [OFFICIAL, OURS, NEWER, Environment(path="/source")])
def test_working_detectron2_is_left_alone(run_on, capsys, environment):
    machine = Machine(environment)
    assert run_on(machine) == 0
    assert machine.calls == []
    output = capsys.readouterr().out
    assert f"at {environment.path}: it works and is left as it is" in output


@pytest.mark.parametrize("environment", [OFFICIAL, OURS])
@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_broken_detectron2_is_not_touched(run_on, capsys, environment, arguments):
    machine = Machine(broken(environment))
    assert run_on(machine, *arguments) == 1
    assert machine.calls == []
    message = capsys.readouterr().err
    assert "ImportError: undefined symbol" in message
    assert "not touched" in message
    assert "pip uninstall detectron2" in message


@pytest.mark.parametrize("environment", [Environment(), OLDER, broken(OLDER)])
def test_missing_and_older_builds_are_installed(run_on, capsys, environment):
    machine = Machine(environment)
    assert run_on(machine) == 0
    ((command, wheel),) = machine.calls
    assert command == "install"
    assert wheel.endswith("small-1.0+pure.1-py3-none-any.whl")
    assert capsys.readouterr().out.endswith("at /site/detectron2: it works\n")


@pytest.mark.parametrize(
    ("step", "advice"),
    [("torch", "pip install -e ."), ("torchvision", "different builds")],
)
@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_torch_comes_first(run_on, capsys, step, advice, arguments):
    machine = Machine(Environment(errors={step: "OSError: no such library"}))
    assert run_on(machine, *arguments) == 1
    assert machine.calls == []
    message = capsys.readouterr().err
    assert "OSError: no such library" in message
    assert advice in message


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(Environment(), pip_works=False), "pip could not install"),
        (Machine(Environment(), after=broken(OURS)), "undefined symbol"),
        (Machine(Environment(), after=Environment()), "does not find it"),
    ],
)
def test_failed_installation_is_reported(run_on, capsys, machine, words):
    assert run_on(machine) == 1
    assert words in capsys.readouterr().err


def test_check_changes_nothing(run_on, capsys):
    machine = Machine(Environment())
    assert run_on(machine, "--check") == 1
    assert machine.calls == []
    assert "there is no Detectron2" in capsys.readouterr().err
    assert run_on(Machine(OFFICIAL), "--check") == 0
    assert "Detectron2 0.6 (with C++ operators)" in capsys.readouterr().out


def test_wheel_only_builds(run_on, capsys, tmp_path):
    machine = Machine(before=None)
    assert run_on(machine, "--wheel", str(tmp_path / "new" / "folder")) == 0
    (wheel,) = (tmp_path / "new" / "folder").iterdir()
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in capsys.readouterr().out
    assert machine.calls == []
    assert len(machine.environments) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot read"), (b"not Detectron2", "SHA-256")],
)
def test_bad_archive_stops_the_script(tmp_path, content, words):
    archive = tmp_path / "archive.tar.gz"
    if content is not None:
        archive.write_bytes(content)
    script = install_detectron2.__file__
    done = subprocess.run(
        [sys.executable, script, "--wheel", tmp_path / "out", "--sdist", archive],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert str(archive) in done.stderr
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_reported(run_on, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert run_on(Machine(before=None), "--wheel", str(tmp_path / "file")) == 1
    assert "cannot write" in capsys.readouterr().err


def test_python_without_pip_is_told_so(monkeypatch):
    monkeypatch.setattr(install_detectron2, "has_pip", lambda: False)
    with pytest.raises(InstallError, match="has no pip"):
        install_detectron2.run_pip("install")


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A package registry in a folder, and nothing else for pip to look at."""
    folder = tmp_path / "registry" / "small-source"
    folder.mkdir(parents=True)
    link = '<a href="small-source-1.0.tar.gz">small-source-1.0.tar.gz</a>'
    (folder / "index.html").write_text(link, encoding="utf-8")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", folder.parent.as_uri())
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return folder


@needs_pip
def test_fetching_runs_nothing_of_the_archive(registry):
    sdist = make_sdist()
    (registry / "small-source-1.0.tar.gz").write_bytes(sdist)
    assert "was executed" in FILES["setup.py"]
    assert fetch_sdist(make_recipe(sdist)) == sdist


@needs_pip
def test_fetching_stops_at_another_archive(registry):
    (registry / "small-source-1.0.tar.gz").write_bytes(make_sdist({"setup.py": ""}))
    with pytest.raises(InstallError, match=r"could not fetch small-source==1\.0"):
        fetch_sdist(make_recipe(make_sdist()))


@needs_pip
def test_fetching_without_a_registry_names_the_ways_out(registry, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InstallError, match=r"--wheel DIR.*--sdist FILE.*facebookresearch"):
        fetch_sdist(make_recipe(make_sdist()))
