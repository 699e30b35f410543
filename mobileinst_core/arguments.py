"""Types of command line arguments that argparse does not have."""

import argparse
from collections.abc import Callable

__all__ = ["positive_number", "probability", "whole_number"]


def probability(text: str) -> float:
    """An argument in [0, 1]."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is outside [0, 1]")
    return value


def positive_number(text: str) -> float:
    """An argument above 0, and finite."""
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def whole_number(least: int) -> Callable[[str], int]:
    """The type of arguments that are whole numbers from ``least`` on, for argparse."""

    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return value

    parse.__name__ = "whole number"  # argparse says "invalid whole number value"
    return parse
