import runpy

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
def test_one_command_prints_the_environment(package, capsys):
    runpy.run_module(package, run_name="__main__")
    text = capsys.readouterr().out
    assert np.__version__ in text
    assert ("PyTorch" in text) == (package == "mobileinst_d2")
