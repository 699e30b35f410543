"""Fixtures of the tests of this folder."""

import pytest
from tiny_models import build_lively_model
from torch import nn


@pytest.fixture(scope="session")
def lively_model() -> nn.Module:
    """A small model with distinct masks, in evaluation mode. Not to be changed."""
    return build_lively_model()
