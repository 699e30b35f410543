import subprocess
import sys

import numpy as np
import pytest

from mobileinst_core import __version__
from mobileinst_core.environment import describe_environment


def test_versions_are_named_and_what_is_missing_is_said():
    rows = dict(describe_environment(["no-such-distribution"]))
    assert rows["mobileinst"] == __version__
    assert rows["numpy"] == np.__version__
    assert rows["no-such-distribution"] == "not installed"


@pytest.mark.parametrize("package", ["mobileinst_core", "mobileinst_d2"])
def test_one_command_prints_the_environment(package):
    command = [sys.executable, "-W", "ignore", "-m", package]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert np.__version__ in text
    assert ("PyTorch" in text) == (package == "mobileinst_d2")
