"""Fixtures that all rooms share."""

import os
from collections.abc import Callable
from pathlib import Path

# Workers of pytest-xdist share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from detectron2.config import CfgNode, get_cfg

from mobileinst_d2 import add_mobileinst_config

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the project."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Callable[..., Path]:
    """Path of optional real data; a test that asks for what is absent is skipped."""

    def find(*parts: str) -> Path:
        path = REPOSITORY.parent.joinpath("shared", "data", *parts)
        if not path.exists():
            pytest.skip(f"optional data is absent: {'/'.join(parts)}")
        return path

    return find


@pytest.fixture
def tiny_cfg() -> CfgNode:
    """A MobileInst that is small enough to run in milliseconds, on the CPU."""
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    cfg.merge_from_file(str(REPOSITORY / "configs" / "toy" / "shapes_image.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    return cfg
