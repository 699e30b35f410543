import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile

import pytest
from detectron2_archives import FILES, make_recipe, make_sdist
from detectron2_wheel import Edit, InstallError, apply_edits, build_wheel
from install_detectron2 import has_pip


@pytest.fixture
def sdist():
    return make_sdist()


def read_wheel(content):
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        assert wheel.testzip() is None
        return {name: wheel.read(name).decode() for name in wheel.namelist()}


def test_wheel_holds_the_packages_the_license_and_the_metadata(sdist):
    files = read_wheel(build_wheel(sdist, make_recipe(sdist)))
    assert set(files) == {
        "small/__init__.py",
        "small/added.py",
        "small/old.py",
        "small/configs/base.yaml",
        "small/projects/extra/__init__.py",
        "small-1.0+pure.1.dist-info/LICENSE",
        "small-1.0+pure.1.dist-info/METADATA",
        "small-1.0+pure.1.dist-info/RECORD",
        "small-1.0+pure.1.dist-info/WHEEL",
    }
    assert files["small-1.0+pure.1.dist-info/LICENSE"] == FILES["LICENSE"]
    metadata = files["small-1.0+pure.1.dist-info/METADATA"].splitlines()
    assert metadata[:3] == ["Metadata-Version: 2.1", "Name: small", "Version: 1.0+pure.1"]
    assert "Requires-Python: >=3.10" in metadata


def test_changed_files_say_so_and_others_stay_as_they_are(sdist):
    files = read_wheel(build_wheel(sdist, make_recipe(sdist)))
    code, note = files["small/old.py"].split("\n", 1)
    assert code == "answer = int(6) * int(7)"
    assert note == "\n# Modified by a test:\n# Modified: old is gone\n"
    assert files["small/__init__.py"] == FILES["small/__init__.py"]
    assert files["small/configs/base.yaml"] == FILES["small/configs/base.yaml"]


def test_record_lists_every_file_with_its_digest(sdist):
    files = read_wheel(build_wheel(sdist, make_recipe(sdist)))
    record = "small-1.0+pure.1.dist-info/RECORD"
    rows = {path: (digest, size) for path, digest, size in csv.reader(io.StringIO(files[record]))}
    assert rows.pop(record) == ("", "")
    assert set(rows) == set(files) - {record}
    for path, (digest, size) in rows.items():
        content = files[path].encode()
        raw = hashlib.sha256(content).digest()
        assert digest == "sha256=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
        assert int(size) == len(content)


def test_same_files_give_the_same_bytes(sdist):
    shuffled = make_sdist(dict(reversed(FILES.items())))
    assert shuffled != sdist
    first = build_wheel(sdist, make_recipe(sdist))
    assert build_wheel(shuffled, make_recipe(shuffled)) == first
    with zipfile.ZipFile(io.BytesIO(first)) as wheel:
        assert {member.date_time for member in wheel.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {member.compress_type for member in wheel.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.skipif(not has_pip(), reason="this Python has no pip")
def test_pip_installs_the_wheel(sdist, tmp_path):
    recipe = make_recipe(sdist)
    (tmp_path / recipe.wheel_name).write_bytes(build_wheel(sdist, recipe))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    target = tmp_path / "site"
    subprocess.run([*pip, "--target", target, tmp_path / recipe.wheel_name], check=True)
    code = (
        "import importlib.metadata, small, small.projects.extra;"
        "print(small.answer, importlib.metadata.version('small'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=target, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["42", "1.0+pure.1"]


def test_tampered_archive_is_refused(sdist):
    with pytest.raises(InstallError, match=r"here\.tar\.gz .*SHA-256.*nothing was installed"):
        build_wheel(sdist + b"\0", make_recipe(sdist), origin="here.tar.gz")


@pytest.mark.parametrize("content", [b"no archive", make_sdist()[:200]])
def test_unreadable_archive_is_refused(content):
    with pytest.raises(InstallError, match="cannot be read"):
        build_wheel(content, make_recipe(content))


@pytest.mark.parametrize("count", [1, 3])
def test_fragment_must_occur_exactly_as_often_as_stated(sdist, count):
    edit = Edit("small/old.py", "old(", "int(", "old is gone", count=count)
    with pytest.raises(InstallError, match=rf"small/old\.py: expected {count} times, found 2"):
        build_wheel(sdist, make_recipe(sdist, edits=(edit,)))


def test_edit_of_a_missing_file_stops(sdist):
    edit = Edit("small/new.py", "a", "b", "reason")
    with pytest.raises(InstallError, match=r"small/new\.py is not in the source archive"):
        build_wheel(sdist, make_recipe(sdist, edits=(edit,)))


def test_new_file_never_replaces_one_of_the_archive(sdist):
    with pytest.raises(InstallError, match=r"small/old\.py is in .* already"):
        build_wheel(sdist, make_recipe(sdist, new_files={"small/old.py": ""}))


def test_missing_package_folder_stops(sdist):
    with pytest.raises(InstallError, match="no folder other/"):
        build_wheel(sdist, make_recipe(sdist, packages={"other": "other"}))


def test_archive_without_license_stops():
    sdist = make_sdist({path: text for path, text in FILES.items() if path != "LICENSE"})
    with pytest.raises(InstallError, match="no LICENSE"):
        build_wheel(sdist, make_recipe(sdist))


def test_edits_apply_in_order_and_note_each_reason_once():
    files = {"a.py": b"one\r\n", "b.py": b"b\n"}
    edits = [
        Edit("a.py", "one", "two", "first"),
        Edit("a.py", "two", "three", "first"),
        Edit("a.py", "three\r\n", "four\r\n", "second"),
    ]
    result = apply_edits(files, edits, author="me")
    assert result["a.py"] == (
        b"four\r\n\n# Modified by me:\n# Modified: first\n# Modified: second\n"
    )
    assert result["b.py"] is files["b.py"]
    assert files["a.py"] == b"one\r\n"
