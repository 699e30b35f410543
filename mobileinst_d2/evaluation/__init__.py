"""Evaluation: COCO mask AP for images, YouTube-VIS AP for videos.

The names are imported on first use, so that ``python -m mobileinst_d2.evaluation.ytvis`` scores a
file of results without Detectron2's evaluation code.
"""

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "COCOInstanceEvaluator": ".coco",
    "YTVISEvaluator": ".ytvis_evaluator",
    "evaluate_ytvis": ".ytvis",
}

__all__ = ["COCOInstanceEvaluator", "YTVISEvaluator", "evaluate_ytvis"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name], __name__), name)
