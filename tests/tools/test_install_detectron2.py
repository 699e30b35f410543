import dataclasses
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.machinery import PathFinder

import pytest

from mobileinst_core import install_detectron2
from mobileinst_core.detectron2_patch import BUILD
from mobileinst_core.detectron2_probe import Environment
from mobileinst_core.errors import UserError
from mobileinst_core.install_detectron2 import apply_patch, build_source, fetch_archive, main

# Not importlib.util.find_spec: setuptools' import hook takes that for a start of pip.
needs_pip = pytest.mark.skipif(PathFinder.find_spec("pip") is None, reason="no pip")

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


FILES = {
    "LICENSE": "the licence\n",
    "PKG-INFO": "Metadata-Version: 2.1\nName: small-source\nVersion: 1.0\n",
    # Fetching must not run this.
    "setup.py": "raise SystemExit('setup.py was executed')\n",
    "small/__init__.py": "from .old import answer\n",
    "small/old.py": "answer = old(6) * old(7)\n",
    "small/configs/base.yaml": "KEY: 1\n",
    "projects/Extra/extra/__init__.py": "name = 'extra'\n",
}


def make_sdist(files=FILES):
    """Bytes of a .tar.gz with one top folder, a folder entry and a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        folder = tarfile.TarInfo("small-source-1.0")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for path, text in files.items():
            member = tarfile.TarInfo(f"small-source-1.0/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("small-source-1.0/small/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "old.py"
        archive.addfile(link)
    return buffer.getvalue()


SDIST = make_sdist()
SOURCE = ("small-source", "1.0", hashlib.sha256(SDIST).hexdigest())


@pytest.fixture(autouse=True)
def small_source(monkeypatch):
    """A small archive in place of Detectron2's."""
    for name, value in {
        "SOURCE": SOURCE,
        "PACKAGES": {"small": "small", "projects/Extra/extra": "small/projects/extra"},
        "PATCH": {"small/old.py": {"old(": "int("}},
        "NEW_FILES": {"small/added.py": "added = True\n"},
        "DEPENDENCIES": (),
    }.items():
        monkeypatch.setattr(install_detectron2, name, value)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "source.tar.gz"
    path.write_bytes(SDIST)
    return path


@pytest.fixture
def run_on(monkeypatch, archive):
    """Runs the command on a played machine."""

    def run(machine, *arguments):
        monkeypatch.setattr(install_detectron2, "probe", machine.probe)
        monkeypatch.setattr(install_detectron2, "run_pip", machine.run_pip)
        return main([*arguments, "--sdist", str(archive)])

    return run


def test_the_source_is_patched_and_says_so(tmp_path):
    build_source(SDIST, tmp_path)
    files = {p.relative_to(tmp_path).as_posix(): p for p in tmp_path.rglob("*") if p.is_file()}
    assert set(files) == {
        "LICENSE",
        "pyproject.toml",
        "small/__init__.py",
        "small/added.py",
        "small/old.py",
        "small/configs/base.yaml",
        "small/projects/extra/__init__.py",
    }
    code, note = files["small/old.py"].read_text().split("\n", 1)
    assert code == "answer = int(6) * int(7)"
    assert note.startswith("\n# Modified by the mobileinst_d2 project")
    assert files["small/__init__.py"].read_text() == FILES["small/__init__.py"]


def test_a_fragment_that_is_not_there_stops(tmp_path):
    (tmp_path / "a.py").write_text("one\n")
    with pytest.raises(UserError, match=r"a\.py has no 'two'"):
        apply_patch(tmp_path, {"a.py": {"two": "three"}})


LACKS_TORCH = Environment(errors={"torch": "OSError: no such library"})
LACKS_VISION = Environment(errors={"torchvision": "OSError: no such library"})
LEFT = "it works and is left as it is"
BROKEN = "(?s)undefined symbol.*not touched.*pip uninstall detectron2"


@pytest.mark.parametrize(
    ("before", "arguments", "status", "is_installed", "words"),
    [
        *((found, [], 0, False, LEFT) for found in (OFFICIAL, OURS, NEWER)),
        (Environment(path="/source"), [], 0, False, LEFT),
        *((found, [], 0, True, "at /site.*: it works") for found in (Environment(), OLDER)),
        (broken(OLDER), [], 0, True, "at /site.*: it works"),
        *((broken(OFFICIAL), arguments, 1, False, BROKEN) for arguments in ([], ["--check"])),
        (broken(OURS), [], 1, False, BROKEN),
        (LACKS_TORCH, [], 1, False, r"(?s)no such library.*pip install -e \."),
        (LACKS_VISION, ["--check"], 1, False, "(?s)no such library.*different builds"),
        (Environment(), ["--check"], 1, False, "there is no Detectron2"),
        (OFFICIAL, ["--check"], 0, False, r"Detectron2 0\.6 \(with C\+\+ operators\)"),
    ],
)
def test_what_is_done_depends_on_what_is_there(
    run_on, capsys, before, arguments, status, is_installed, words
):
    machine = Machine(before)
    assert run_on(machine, *arguments) == status
    assert [call[0] for call in machine.calls] == ["install"] * is_installed
    printed = capsys.readouterr()
    assert re.search(words, printed.err if status else printed.out)


@pytest.mark.parametrize(
    ("pip_works", "after", "words"),
    [
        (False, OURS, "pip could not install"),
        (True, broken(OURS), "undefined symbol"),
        (True, Environment(), "does not find it"),
    ],
)
def test_failed_installation_is_reported(run_on, fails, pip_works, after, words):
    fails(words, run_on, Machine(Environment(), after, pip_works))


@needs_pip
@pytest.mark.skipif(PathFinder.find_spec("setuptools") is None, reason="no setuptools")
def test_the_wheel_is_built_and_can_be_installed(archive, tmp_path, monkeypatch):
    project = install_detectron2._PROJECT.replace('["detectron2", "detectron2.*"]', '["small*"]')
    monkeypatch.setattr(install_detectron2, "_PROJECT", project)
    assert main(["--wheel", str(tmp_path / "new" / "folder"), "--sdist", str(archive)]) == 0
    (wheel,) = (tmp_path / "new" / "folder").iterdir()
    assert wheel.name == f"detectron2-0.6+pure.{BUILD}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    names = {p.relative_to(tmp_path / "site").as_posix() for p in tmp_path.glob("site/**/*")}
    assert {"small/added.py", "small/configs/base.yaml", "small/projects/extra"} <= names
    assert any(name.endswith("LICENSE") for name in names)
    code = "import small, small.projects.extra; print(small.answer)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True
    )
    assert done.stdout.split() == ["42"], done.stderr


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"not Detectron2", "SHA-256")]
)
def test_bad_archive_stops_the_command(run_on, archive, fails, content, words):
    archive.unlink() if content is None else archive.write_bytes(content)
    machine = Machine(Environment())
    fails(rf"(?s)^error: (?=.*{words}).*{archive.name}", run_on, machine)
    assert machine.calls == []


def test_python_without_pip_is_told_so(monkeypatch):
    monkeypatch.setattr(install_detectron2, "_has", lambda _: False)
    with pytest.raises(UserError, match="has no pip"):
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
def test_fetching_runs_nothing_of_the_archive_and_stops_at_another_one(registry):
    (registry / "small-source-1.0.tar.gz").write_bytes(SDIST)
    assert "was executed" in FILES["setup.py"]
    assert fetch_archive(*SOURCE) == SDIST
    (registry / "small-source-1.0.tar.gz").write_bytes(make_sdist({"setup.py": ""}))
    with pytest.raises(UserError, match=r"could not fetch small-source==1\.0"):
        fetch_archive(*SOURCE)


@needs_pip
def test_fetching_without_a_registry_names_the_ways_out(registry, monkeypatch, fails):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    fails(r"--wheel DIR.*--sdist FILE.*facebookresearch", main, ["--wheel", "gone"])
