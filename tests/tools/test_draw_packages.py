import draw_packages
import pytest


@pytest.fixture
def packages(tmp_path):
    """Two packages: top -> middle -> bottom, top -> bottom, and middle -> the other package."""
    files = {
        "mobileinst_core/masks/__init__.py": '"""Masks. And more."""\n',
        "mobileinst_core/errors.py": "",
        "mobileinst_d2/top/__init__.py": '"""From :mod:`a.b` down."""\n',
        "mobileinst_d2/top/deep/code.py": "from ...middle.code import x\nfrom ... import bottom\n",
        "mobileinst_d2/middle/__init__.py": "",
        "mobileinst_d2/middle/code.py": (
            "import mobileinst_d2.bottom.x\nfrom mobileinst_core import masks\nimport numpy\n"
        ),
        "mobileinst_d2/bottom/__init__.py": "from . import x\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_imports_are_found_relative_and_absolute(packages):
    found = draw_packages.imports_of(packages / "mobileinst_d2", draw_packages.PACKAGES)
    assert found["top"] == {("mobileinst_d2", "middle"), ("mobileinst_d2", "bottom")}
    assert found["middle"] == {("mobileinst_d2", "bottom"), ("mobileinst_core", "masks")}
    assert "bottom" not in found


def test_the_picture_is_drawn(packages, tmp_path):
    draw_packages.draw(packages).savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000
