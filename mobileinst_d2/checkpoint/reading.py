"""Reading of checkpoint files without running code that they may hold."""

import argparse
import collections
import importlib.util
import io
import os
import pathlib
import pickle
import re
from typing import Any

import numpy as np
import torch
from detectron2.utils.file_io import PathManager
from torch.serialization import safe_globals

from mobileinst_core.errors import UserError

__all__ = ["CheckpointError", "read_checkpoint"]


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or that does not belong to the model."""


class _ForbiddenGlobalError(pickle.UnpicklingError):
    """A pickle asks for something that is no plain data; the message is its full name."""


# The numbers that arrays in public files are made of; "O" for arrays of plain Python values.
_DTYPES = [type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDSUO"]

# What files may ask for, by its full name: containers, settings of the training, numpy's data.
# numpy 2 calls numpy.core numpy._core; files hold the name of the version that wrote them.
_HARMLESS = {
    "collections.OrderedDict": collections.OrderedDict,
    "argparse.Namespace": argparse.Namespace,
    # Read as pure paths, which exist on every system and touch no file.
    "pathlib.PosixPath": pathlib.PurePosixPath,
    "pathlib._local.PosixPath": pathlib.PurePosixPath,
    "pathlib.PurePosixPath": pathlib.PurePosixPath,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    **{f"numpy.dtypes.{dtype.__name__}": dtype for dtype in _DTYPES},
}
for _core in ("numpy.core", "numpy._core"):
    _HARMLESS[f"{_core}.multiarray._reconstruct"] = np.empty(0).__reduce__()[0]
    _HARMLESS[f"{_core}.multiarray.scalar"] = np.float64(0).__reduce__()[0]
    _HARMLESS[f"{_core}.numeric._frombuffer"] = np.empty(0).__reduce_ex__(5)[0]


def read_checkpoint(path: str) -> Any:
    """Read a checkpoint on the CPU; a file that wants to run code is refused.

    ``.pkl`` files are pickles as in Detectron2's model zoo, ``.safetensors`` files are read with
    the package of that name, all others with ``torch.load``.

    Args:
        path: file, or URL that Detectron2's ``PathManager`` knows.

    Returns:
        What the file holds: tensors and arrays in plain containers.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it may not be read.
        CheckpointError: if the file is damaged, is no checkpoint, or holds more than plain data.
    """
    local = PathManager.get_local_path(path)
    if not os.path.isfile(local):
        raise FileNotFoundError(f"the checkpoint {path!r} does not exist")
    if local.endswith(".safetensors"):
        read = _safetensors_reader(path)
    else:
        read = _read_pickle if local.endswith(".pkl") else _read_torch
    try:
        return read(local)
    except _ForbiddenGlobalError as error:
        raise CheckpointError(
            f"{path} holds more than plain data: it asks for {error}. As that can run code, the "
            "file was not loaded and nothing in it was executed. Where it can be trusted, save "
            "the weights alone: torch.save({'model': state_dict}, PATH)."
        ) from None  # PyTorch's own error advises to load it all the same
    except Exception as error:  # a damaged file can make the readers raise anything
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {_describe(local, error)}"
        ) from error


def _read_torch(path: str) -> Any:
    try:
        with safe_globals([(value, name) for name, value in _HARMLESS.items()]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if match := re.search(r"GLOBAL (\S+)", str(error)):
            name = match[1]
            raise _ForbiddenGlobalError(name if "." in name else f"builtins.{name}") from error
        raise


def _read_pickle(path: str) -> Any:
    with open(path, "rb") as file:
        return _PlainUnpickler(file, encoding="latin1").load()


def _safetensors_reader(path: str) -> Any:
    if importlib.util.find_spec("safetensors") is None:
        raise CheckpointError(
            f"{path} needs the package safetensors: install it with `pip install safetensors`."
        )
    from safetensors.torch import load_file  # optional

    return load_file


class _PlainUnpickler(pickle.Unpickler):
    """Gives numpy arrays, tensors and plain containers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in _PICKLE_GLOBALS:
            raise _ForbiddenGlobalError(full_name)
        return _PICKLE_GLOBALS[full_name]


def _encode(text: str, encoding: str) -> bytes:
    """How older protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _load_storage(data: bytes) -> Any:
    """The numbers of a tensor, which are written as a file inside the file."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


_PICKLE_GLOBALS = _HARMLESS | {
    "_codecs.encode": _encode,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch.storage._load_from_bytes": _load_storage,
}


def _describe(path: str, error: Exception) -> str:
    """What a file is that cannot be read, and what to do about it."""
    with open(path, "rb") as file:
        start = file.read(200).lstrip().lower()
    if os.path.getsize(path) == 0:
        return "it is empty. Copy it again."
    if start.startswith(b"version https://git-lfs"):
        return "it only points to a file in Git LFS. Fetch that with `git lfs pull`."
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, as when a download needs a login. Download the file again."
    reason = str(error).split(". ")[0]
    return (
        "it is damaged, as by an interrupted copy, or no file of torch.save. Copy it again, or "
        f"name another one. ({type(error).__name__}: {reason})"
    )
