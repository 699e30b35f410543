"""What a measurement was made on."""

import os
import platform
from pathlib import Path

import torch

__all__ = ["describe_machine"]


def describe_machine() -> str:
    """Processor, number of its cores that this process may use, and versions, in one line."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        # Linux knows the name that platform does not tell.
        names = [x for x in information.read_text().splitlines() if x.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    available = getattr(os, "sched_getaffinity", None)
    cores = len(available(0)) if available else os.cpu_count()
    return (
        f"{processor}, cores: {cores}, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
