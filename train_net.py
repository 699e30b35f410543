#!/usr/bin/env python
"""Train or evaluate a model. The code is in mobileinst_d2/commands/train.py.

Train on two GPUs (or, without any, in two CPU processes):
    python train_net.py --config-file configs/FILE.yaml --num-gpus 2
    torchrun --nproc_per_node 2 train_net.py --config-file configs/FILE.yaml
Resume after an interruption:
    python train_net.py --resume OUTPUT_DIR output/FOLDER
Evaluate:
    python train_net.py --config-file configs/FILE.yaml --eval-only MODEL.WEIGHTS FILE.pth
Evaluate what tools/export.py made:
    python train_net.py --model DIR --eval-only
"""

import sys

from mobileinst_d2.commands.train import invoke_main

if __name__ == "__main__":
    sys.exit(invoke_main())
