"""Train on a small data set of your own. The code is in mobileinst_d2/commands/finetune.py.

Example::

    python tools/finetune.py --train my/train.json my/JPEGImages --output output/my
"""

import sys

from mobileinst_d2.commands.finetune import main

if __name__ == "__main__":
    sys.exit(main())
