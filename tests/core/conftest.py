"""An environment without PyTorch."""

import pytest
from torch_free import TorchFreePython


@pytest.fixture(scope="session")
def torch_free_python(tmp_path_factory, repository) -> TorchFreePython:
    """Runs programs where mobileinst_core and ONNX Runtime are installed, and PyTorch is not."""
    return TorchFreePython(tmp_path_factory.mktemp("torch_free"), repository, "onnx")
