"""The metric of YouTube-VIS and its command, ``python -m mobileinst_d2.evaluation.ytvis``.

Both are those of :mod:`mobileinst_core.ytvis.evaluate`.
"""

import sys

from mobileinst_core.ytvis.evaluate import VideoMetrics, evaluate_ytvis, main

__all__ = ["VideoMetrics", "evaluate_ytvis", "main"]

if __name__ == "__main__":
    sys.exit(main())
