"""Checkpoints that a kill cannot damage, and clear words about those that are damaged."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from mobileinst_core.errors import NotFiniteError
from mobileinst_core.files import replacing

from .backbones import find_backbone_module, load_backbone_content
from .names import find_state_dict
from .published import find_published_layout, list_names, rename_published
from .reading import CheckpointError, read_checkpoint

__all__ = ["TrainingCheckpointer"]

Tensors = Mapping[str, torch.Tensor]


class _SafeCheckpointer(Checkpointer):
    """Takes the place of fvcore's checkpointer behind Detectron2's, to read files safely."""

    def _load_file(self, f: str) -> dict[str, Any]:
        content = read_checkpoint(f)
        return content if isinstance(content, dict) else {"model": content}


class TrainingCheckpointer(DetectionCheckpointer, _SafeCheckpointer):
    """Detectron2's checkpointer with atomic writes and checked reads.

    A file appears under its own name only when it is complete, so the checkpoint that
    ``last_checkpoint`` names is always a whole one. Code in a file is never run. Public
    checkpoints of the backbone are loaded into the backbone, and those of whole models that their
    authors released under the names that the model has here.
    """

    # Where the last load came from, the entries that were found there, and whether a training
    # starts from it.
    _source = ""
    _entries: frozenset[str] = frozenset()
    _starts_training = False

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        adapt: Callable[[nn.Module, Tensors], Tensors] | None = None,
        start: Callable[[nn.Module], Any] | None = None,
        to_predict: bool = False,
        **kwargs: Any,
    ) -> None:
        """Prepare to load and save.

        Args:
            model: the network, also wrapped for several processes.
            save_dir: folder of the checkpoints.
            adapt: makes weights fit the network that a training starts with; given network and
                weights by name, it returns those to load. With it, what still has another shape
                is left out with a warning; in any other case another shape is an error.
            start: gives the network the weights that a training starts with when there is neither
                a checkpoint to resume nor a file of the whole model.
            to_predict: the model is not trained after it: a file that has not all of its
                parameters, or others in the same parts, is an error, and nothing of it is loaded.
            **kwargs: as in Detectron2.
        """
        super().__init__(model, save_dir, **kwargs)
        self.adapt = adapt
        self.start = start
        self.to_predict = to_predict

    def save(self, name: str, **kwargs: Any) -> None:
        """Write model and checkpointables, then name the file in ``last_checkpoint``.

        Args:
            name: file name without ``.pth``.
            **kwargs: further entries of the file.

        Raises:
            NotFiniteError: if the model is not finite; then nothing is written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        bad = [name for name, value in data["model"].items() if not value.isfinite().all()]
        if bad:
            raise NotFiniteError(
                f"The checkpoint {name!r} is not written, as {len(bad)} entries of the model are "
                f"not finite, first of all {bad[0]}. Lower SOLVER.BASE_LR."
            )
        data.update((key, item.state_dict()) for key, item in self.checkpointables.items())
        data.update(kwargs)
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        self._write(path, lambda file: torch.save(data, file))
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the file in the output directory to resume from."""
        path = os.path.join(self.save_dir, "last_checkpoint")
        self._write(path, lambda file: file.write(last_filename_basename.encode()))

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Resume from the last checkpoint, or load weights only.

        Args:
            path: weights to load when there is nothing to resume; empty for none.
            resume: whether to look for a last checkpoint.

        Returns:
            What else the file holds.

        Raises:
            CheckpointError: if the last checkpoint is of another model, or is missing or damaged;
                in the latter cases the message names an older good one.
        """
        if not (resume and self.has_checkpoint()):
            if resume:
                self.logger.warning(
                    "There is nothing to resume in %s: starting from MODEL.WEIGHTS=%r.",
                    self.save_dir,
                    path,
                )
            if not path and self.start is not None:
                self.start(self.model)
            self._starts_training = self.adapt is not None
            try:
                return super().resume_or_load(path, resume=False)
            finally:
                self._starts_training = False
        last = self.get_checkpoint_file()
        try:
            rest = super().resume_or_load(path, resume=True)
            if not self._entries.issuperset(self.checkpointables):
                raise CheckpointError(f"{last} holds weights, but no state of a training.")
            return rest
        except (CheckpointError, FileNotFoundError) as error:
            if _is_resumable(last):
                raise  # the file is good, but of another model: an older one would be so too
            raise CheckpointError(f"{error} {self._advice(last)}") from error

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint.

        Args:
            path: file or URL; empty loads nothing.
            *args: as in Detectron2.
            **kwargs: as in Detectron2.

        Returns:
            What the file holds beside the model and the checkpointables that were asked for.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if the file is damaged, holds more than data, or does not fit the
                model.
        """
        if not path:
            return {}  # fvcore would say that the whole model is random, even with a backbone
        # Detectron2 after 0.6 takes options after a question mark. While it loads, it keeps them in
        # this attribute, which a failure leaves: then it would refuse to load ever again.
        has_options = hasattr(self, "_parsed_url_during_load")
        file = path.partition("?")[0] if has_options else path
        if "://" not in file and not os.path.isfile(file):
            raise FileNotFoundError(
                f"The checkpoint {path!r} does not exist. Check MODEL.WEIGHTS, or the file "
                "last_checkpoint in OUTPUT_DIR when resuming."
            )
        self._source = path
        try:
            return super().load(path, *args, **kwargs)
        finally:
            if has_options:
                self._parsed_url_during_load = None

    def _write(self, path: str, write: Callable[[IO[bytes]], Any]) -> None:
        if "://" in path:
            # Remote stores show an object only when it is complete.
            with self.path_manager.open(path, "wb") as file:
                write(file)
            return
        # Under a name of its own: the next checkpoint of this name takes over what a kill has left.
        temporary = Path(f"{path}.tmp")
        with replacing(Path(path), temporary), temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())

    def _load_file(self, filename: str) -> dict[str, Any]:
        if filename.endswith((".pkl", ".pyth")):
            loaded = _read_zoo_file(filename)
        else:
            loaded = super()._load_file(filename)
        self._entries = frozenset(loaded)
        return loaded

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if not checkpoint.get("matching_heuristics", False):
            tensors, _ = find_state_dict(checkpoint)
            if layout := find_published_layout(tensors):
                checkpoint["model"] = rename_published(layout, tensors, self.model, self._source)
            elif self._is_of_backbone(checkpoint):
                if self.to_predict:
                    self._check_whole(tensors)
                    raise CheckpointError(
                        f"{self._source} holds a backbone only, or another network: the rest of "
                        f"{type(self.model).__name__} would predict at random. Train from it."
                    )
                self._load_backbone(checkpoint)
                return None
            if self.to_predict:
                self._check_whole(checkpoint["model"])
            if self._starts_training:
                checkpoint["model"] = self.adapt(self.model, checkpoint["model"])
        in_file = list(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        names = [name for name, _ in self.model.named_parameters()]
        parameters = set(names)
        # Those with another shape in the file count as missing too.
        if parameters and parameters.issubset(incompatible.missing_keys):
            raise CheckpointError(
                f"No parameter of {type(self.model).__name__} is in {self._source}. "
                f"The file has names like {in_file[:3]}, the model {names[:3]}."
            )
        shaped = {name for name, *_ in incompatible.incorrect_shapes}
        if self.to_predict and not (parameters - shaped).isdisjoint(incompatible.missing_keys):
            # Of files whose names Detectron2 matches, this is known only now.
            missing = [x for x in incompatible.missing_keys if x in parameters - shaped]
            raise CheckpointError(
                f"{self._source} is of another network than {type(self.model).__name__}: "
                f"{list_names(missing)} of the model are not in the file."
            )
        if incompatible.incorrect_shapes and not self._starts_training:
            self._refuse_shapes(incompatible.incorrect_shapes)
        return incompatible

    def _check_whole(self, tensors: Tensors) -> None:
        """Refuse a file of another network, see ``to_predict``."""
        shapes = {name.removeprefix("module."): value.shape for name, value in tensors.items()}
        own = {name: value.shape for name, value in self.model.named_parameters()}
        missing = [name for name in own if name not in shapes]
        parts = {name.partition(".")[0] for name in own}
        # Detectron2's files of old have other things, too, such as anchors.
        unknown = [
            name
            for name in shapes
            if name.endswith((".weight", ".bias"))
            and name.partition(".")[0] in parts
            and name not in self.model.state_dict()
        ]
        if len(missing) == len(own):
            return  # that is told for all files
        if missing or unknown:
            raise CheckpointError(
                f"{self._source} is of another network than {type(self.model).__name__} of this "
                f"config: {list_names(missing)} of the model are not in the file, and "
                f"{list_names(unknown)} of the file are not in the model. Nothing was loaded. Use "
                "the config that it was trained with; a training may start from it."
            )
        other = [name for name in own if own[name] != shapes[name]]
        if other:
            self._refuse_shapes([(n, tuple(shapes[n]), tuple(own[n])) for n in other])

    def _refuse_shapes(self, incorrect: Sequence[tuple]) -> None:
        shapes = "; ".join(
            f"{name} is {in_file} in the file and {in_model} in the model"
            for name, in_file, in_model in incorrect[:3]
        )
        raise CheckpointError(
            f"{self._source} does not fit {type(self.model).__name__}, as {len(incorrect)} tensors "
            f"have another shape: {shapes}. Use the config that it was trained with; "
            "MODEL.NUM_CLASSES is among what shapes depend on."
        )

    def _is_of_backbone(self, checkpoint: dict[str, Any]) -> bool:
        """Whether the file is of a backbone alone; the weights of others move to "model"."""
        parameters = {name for name, _ in self.model.named_parameters()}
        if _is_plain(checkpoint["model"]) and not parameters.isdisjoint(checkpoint["model"]):
            return False
        tensors, _ = find_state_dict(checkpoint)
        if not tensors:
            raise CheckpointError(
                f"{self._source} holds no mapping of names to tensors. Save the state dict alone, "
                "as torch.save({'model': state_dict}, path)."
            )
        outside = {name for name in parameters if not name.startswith("backbone.")}
        if hasattr(self.model, "backbone") and outside.isdisjoint(tensors):
            return True
        checkpoint["model"] = tensors
        return False

    def _load_backbone(self, checkpoint: dict[str, Any]) -> None:
        backbone = find_backbone_module(self.model)
        # Detectron2 puts the whole content of files that are not its own under "model".
        content = checkpoint["model"] if checkpoint.keys() == {"model"} else checkpoint
        load_backbone_content(backbone, content, self._source)
        del checkpoint["model"]
        self.logger.warning(
            "%s holds a backbone only: all other parts of %s stay random.",
            self._source,
            type(self.model).__name__,
        )

    def _advice(self, broken: str) -> str:
        """What to do when the last checkpoint is broken."""
        if "://" in self.save_dir:
            return f"Write the name of a good one into last_checkpoint in {self.save_dir}."
        others = [path for path in self.get_all_checkpoint_files() if path != broken]
        tag = os.path.join(self.save_dir, "last_checkpoint")
        for path in sorted(others, key=os.path.getmtime, reverse=True):
            if _is_resumable(path):
                return (
                    f"The newest good checkpoint is {path}: to resume from it, write "
                    f"{os.path.basename(path)} into {tag}."
                )
        return f"No other checkpoint in {self.save_dir} can be resumed; start without --resume."


def _read_zoo_file(path: str) -> dict[str, Any]:
    """Read a file of Detectron2's, Detectron's or pycls's model zoo, as Detectron2 does."""
    content = read_checkpoint(path)
    loaded = content if isinstance(content, dict) else {}
    if path.endswith(".pyth"):
        author, weights = "pycls", loaded.get("model_state")
    elif "model" in loaded and "__author__" in loaded:
        author, weights = None, loaded["model"]
    else:
        author, weights = "Caffe2", loaded.get("blobs", loaded)
    if not weights or not _is_plain(weights):
        raise CheckpointError(f"{path} holds no plain mapping of names to weights.")
    if author is None:
        return loaded
    left_out = ("_momentum", "num_batches_tracked")
    weights = {name: value for name, value in weights.items() if not name.endswith(left_out)}
    return {"model": weights, "__author__": author, "matching_heuristics": True}


def _is_plain(weights: Any) -> bool:
    return isinstance(weights, Mapping) and all(
        isinstance(value, torch.Tensor | np.ndarray) for value in weights.values()
    )


def _is_resumable(path: str) -> bool:
    try:
        checkpoint = read_checkpoint(path)
    except (CheckpointError, OSError):
        return False
    return isinstance(checkpoint, dict) and "trainer" in checkpoint
