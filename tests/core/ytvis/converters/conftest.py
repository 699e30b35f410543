"""Folders of frames, and files to convert."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_frames(tmp_path):
    """Function that writes black frames ``images/<video>/<name>`` of the given height and width."""

    def write(video, names, size=(12, 16), root="images"):
        for name in names:
            path = tmp_path / root / video / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size[::-1]).save(path)
        return tmp_path / root

    return write


@pytest.fixture
def write_mask(tmp_path):
    """Function that writes the image ``masks/<video>/<name>.png`` of an array."""

    def write(video, name, pixels, mode=None):
        path = tmp_path / "masks" / video / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.asarray(pixels))
        if mode == "P":
            image = image.convert("L")
            image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
        image.save(path)
        return path

    return write


@pytest.fixture
def write_file(tmp_path):
    """Function that writes content as JSON, or text as it is."""

    def write(name, content) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write
