"""Checkpoints that a kill cannot damage, and clear words about those that are damaged."""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer

__all__ = ["CheckpointError", "TrainingCheckpointer"]


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, or that does not belong to the model."""


class TrainingCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes and checked reads.

    A file appears under its own name only when it is complete, so the checkpoint that
    ``last_checkpoint`` names is always a whole one.
    """

    # Where the last load came from, and the entries that were found there.
    _source = ""
    _entries: frozenset[str] = frozenset()

    def save(self, name: str, **kwargs: Any) -> None:
        """Write model and checkpointables, then name the file in ``last_checkpoint``.

        Args:
            name: file name without ``.pth``.
            **kwargs: further entries of the file.

        Raises:
            FloatingPointError: if the model is not finite; then nothing is written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        bad = [name for name, value in data["model"].items() if not value.isfinite().all()]
        if bad:
            raise FloatingPointError(
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
        """Name the file to resume from.

        Args:
            last_filename_basename: file name inside the output directory.
        """
        path = os.path.join(self.save_dir, "last_checkpoint")
        self._write(path, lambda file: file.write(last_filename_basename.encode()))

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Go on from the last checkpoint, or load weights only.

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
            return super().resume_or_load(path, resume=False)
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
            CheckpointError: if the file is damaged, or no parameter of the model is in it.
        """
        # Detectron2 after 0.6 takes options after a question mark. While it loads, it keeps them in
        # this attribute, which a failure leaves behind: then it would refuse to load ever again.
        has_options = hasattr(self, "_parsed_url_during_load")
        file = path.partition("?")[0] if path and has_options else path
        if file and "://" not in file and not os.path.isfile(file):
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
        temporary = f"{path}.tmp"
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)

    def _load_file(self, filename: str) -> dict[str, Any]:
        try:
            loaded = super()._load_file(filename)
        except Exception as error:  # a damaged file can make the unpickler raise anything
            reason = (str(error).splitlines() or [""])[0]
            raise CheckpointError(
                f"{filename} cannot be read as a checkpoint ({type(error).__name__}: {reason}). "
                "It is damaged, as by an interrupted copy, or no file of torch.save: copy it "
                "again, or name another one in MODEL.WEIGHTS."
            ) from error
        model = loaded["model"]
        if not isinstance(model, Mapping) or not all(
            isinstance(value, torch.Tensor | np.ndarray) for value in model.values()
        ):
            raise CheckpointError(
                f"{filename} holds no plain mapping of names to tensors, neither itself nor under "
                "'model'. Save the state dict alone, as torch.save({'model': state_dict}, path)."
            )
        self._entries = frozenset(loaded)
        return loaded

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        in_file = sorted(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        parameters = {name for name, _ in self.model.named_parameters()}
        # Those with another shape in the file count as missing too.
        if parameters and parameters.issubset(incompatible.missing_keys):
            raise CheckpointError(
                f"No parameter of {type(self.model).__name__} is in {self._source}. "
                f"The file has names like {in_file[:3]}, the model {sorted(parameters)[:3]}."
            )
        return incompatible

    def _advice(self, broken: str) -> str:
        """What to do when the last checkpoint is broken."""
        if "://" in self.save_dir:
            return f"Write the name of a good one into last_checkpoint in {self.save_dir}."
        others = [path for path in self.get_all_checkpoint_files() if path != broken]
        tag = os.path.join(self.save_dir, "last_checkpoint")
        for path in sorted(others, key=os.path.getmtime, reverse=True):
            if _is_resumable(path):
                return (
                    f"The newest good checkpoint is {path}: to go on from it, write "
                    f"{os.path.basename(path)} into {tag}."
                )
        return f"No other checkpoint in {self.save_dir} can be resumed; start without --resume."


def _is_resumable(path: str) -> bool:
    try:
        checkpoint = torch.load(path, map_location="cpu")
    except Exception:  # as above: damage shows in any way
        return False
    return isinstance(checkpoint, dict) and "trainer" in checkpoint
