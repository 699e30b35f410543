"""A small source archive and its recipe, in the shape of Detectron2's."""

import dataclasses
import hashlib
import io
import tarfile

from detectron2_wheel import Edit, Recipe

FILES = {
    "LICENSE": "the license\n",
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


def make_recipe(sdist, **changes):
    """The recipe that turns `make_sdist` into a wheel; `changes` replace its fields."""
    recipe = Recipe(
        source="small-source",
        source_version="1.0",
        sha256=hashlib.sha256(sdist).hexdigest(),
        name="small",
        version="1.0+pure.1",
        packages={"small": "small", "projects/Extra/extra": "small/projects/extra"},
        edits=(Edit("small/old.py", "old(", "int(", "old is gone", count=2),),
        new_files={"small/added.py": "added = True\n"},
        metadata="Requires-Python: >=3.10\n",
        author="a test",
    )
    return dataclasses.replace(recipe, **changes)
