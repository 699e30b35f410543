"""Thresholds of an exported model, which keep the names of their config keys on command lines."""

import ast
import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mobileinst_core.errors import UserError

__all__ = ["override_thresholds"]

# Config keys under TEST whose thresholds have other names in model.json. Those of TEST.TRACKING and
# TEST.STREAMING have the same names in lower case.
_NAMES = {
    "score": "SCORE_THRESHOLD",
    "mask": "MASK_THRESHOLD",
    "mask_rescore": "MASK_RESCORE",
    "max_detections": "DETECTIONS_PER_IMAGE",
    "procedure": "PROCEDURE",
}


def override_thresholds(thresholds: Mapping[str, Any], opts: Sequence[str]) -> dict[str, Any]:
    """Change thresholds by the config keys that they were exported from.

    Args:
        thresholds: as model.json has them.
        opts: KEY, VALUE, KEY, VALUE, ..., such as TEST.TRACKING.CLIP_LEN, 3.

    Returns:
        A changed copy.

    Raises:
        UserError: a key stands for no threshold, has no value, or one of another type.
    """
    changed = copy.deepcopy(dict(thresholds))
    places = dict(_places(changed))
    for key in opts[::2]:
        if key.startswith("--"):
            raise UserError(f"{key} must come before the KEY VALUE overrides.")
        if key not in places:
            closest = difflib.get_close_matches(key.upper(), places, n=1, cutoff=0.0)
            raise UserError(
                f"{key} cannot be changed in an exported model, only its thresholds can; the "
                f"closest is {closest[0]!r}. To change anything else, export the model again, or "
                "leave out --model to use PyTorch."
            )
    if len(opts) % 2:
        raise UserError(f"{opts[-1]} has no value. Overrides are KEY VALUE pairs.")
    for key, text in zip(opts[::2], opts[1::2], strict=True):
        section, name = places[key]
        section[name] = _parse(key, text, section[name])
    return changed


def _places(thresholds: dict[str, Any]) -> Iterator[tuple[str, tuple[dict[str, Any], str]]]:
    """Config keys, and for each the mapping and the name in it that hold the value."""
    for name, value in thresholds.items():
        if isinstance(value, dict):
            for inner in value:
                yield f"TEST.{name.upper()}.{inner.upper()}", (value, inner)
        elif name in _NAMES:
            yield f"TEST.{_NAMES[name]}", (thresholds, name)


def _parse(key: str, text: str, default: Any) -> Any:
    """The value in a text, which must be of the type that there was."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        raise UserError(f"{key} is {text!r}; it must be a value such as {default!r}.")
    return value
