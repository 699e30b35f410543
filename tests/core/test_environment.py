import runpy

import numpy as np
import pytest


@pytest.mark.parametrize("package", ["mobileinst_core", "mobileinst_d2"])
def test_one_command_prints_the_environment(package, capsys):
    runpy.run_module(package, run_name="__main__")
    text = capsys.readouterr().out
    assert np.__version__ in text
    assert ("PyTorch" in text) == (package == "mobileinst_d2")
