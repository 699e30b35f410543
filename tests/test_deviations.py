"""docs/deviations.md and the config speak of the same options, with the same defaults."""

import ast
import re

import pytest
from source_tree import REPOSITORY
from test_config import DETECTRON2_KEYS, KEYS, comments

TEXT = (REPOSITORY / "docs" / "deviations.md").read_text(encoding="utf-8")
# A key, or the end of one, and its value where it is written behind.
VALUE = r""" ("[^"]*"|\[[^]]*]|True|False|\d+(?:\.\d+)?)(?!\.?\d)"""
NAMED = re.compile(rf"`([A-Z0-9_]+(?:\.[A-Z0-9_]+)+)`(?:{VALUE})?")
OPEN = [key for key in KEYS if re.search(r"\bOpen\b", comments()[key])]


def keys_of(name: str) -> list[str]:
    """The keys that a name in the text may mean."""
    return [k for k in (*KEYS, *DETECTRON2_KEYS) if k == name or k.endswith(f".{name}")]


def stated_defaults() -> dict[str, object]:
    """The first value that the text gives for each key."""
    found = {}
    for name, value in NAMED.findall(TEXT):
        if value:
            found.setdefault(keys_of(name)[0], ast.literal_eval(value))
    return {key: value for key, value in found.items() if key in KEYS}


@pytest.mark.parametrize("name", sorted({name for name, _ in NAMED.findall(TEXT)}))
def test_every_name_is_that_of_one_key(name):
    assert len(keys_of(name)) == 1


@pytest.mark.parametrize("key", OPEN)
def test_every_open_choice_is_explained(key):
    assert key in {k for name, _ in NAMED.findall(TEXT) for k in keys_of(name)}


@pytest.mark.parametrize(("key", "value"), stated_defaults().items())
def test_the_defaults_are_those_of_the_config(key, value):
    assert value == KEYS[key]


def test_choices_and_defaults_are_found():
    assert {"MODEL.MASK_DECODER.LAYOUT", "INPUT.SAMPLING_FRAME_RANGE"} <= set(OPEN)
    assert len(OPEN) > 25
    defaults = stated_defaults()
    assert defaults["MODEL.MASK_DECODER.ENHANCERS"] == ["input", "output"]
    assert defaults["MODEL.INSTANCE_DECODER.FFN_DIM"] == 1024
    assert len(defaults) > 25
