"""Export a trained model for a phone. The code is in mobileinst_d2/commands/export.py.

Example::

    python tools/export.py --config-file configs/mobileinst/mobileinst_topformer-b_ytvis19.yaml \\
        --weights output/model_final.pth --size 384 640 --format ncnn --output exported
"""

import sys

from mobileinst_d2.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
