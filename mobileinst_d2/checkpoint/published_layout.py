"""What describes a family of published files."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["PublishedLayout"]


@dataclass(frozen=True)
class PublishedLayout:
    """The names in the files that the authors of a system have released.

    Attributes:
        system: the meta-architecture here that takes these files, such as "SparseInst".
        anchors: names that such files have, all of them, and that no other file has; checkpoints
            of our own model neither.
        rename: from a name in the file to the model's; None for what no model needs, which is not
            reported.
    """

    system: str
    anchors: tuple[str, ...]
    rename: Callable[[str], str | None]
