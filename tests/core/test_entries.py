"""Numbers of annotation files, and of programs that hand over what they would have written."""

import warnings

import numpy as np
import pytest

from mobileinst_core.entries import is_finite, is_integer

FLOATS = (float, np.float16, np.float32, np.float64)


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("text", ["inf", "-inf", "nan"])
def test_what_is_not_finite_is_so_in_any_precision(kind, text):
    assert not is_finite(kind(text))
    assert not is_integer(kind(text))


@pytest.mark.parametrize("kind", [*FLOATS, int, np.int64, np.uint8])
def test_numbers_of_any_type_are_finite_without_a_warning(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_finite(kind(3))
        assert is_integer(kind(3))


@pytest.mark.parametrize("value", [True, "3", None, [3], 10**400])
def test_what_is_no_number_or_too_large_is_not_finite(value):
    assert not is_finite(value)
