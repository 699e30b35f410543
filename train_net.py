#!/usr/bin/env python
"""Train or evaluate a model.

Train on two GPUs (or, without any, in two CPU processes):
    python train_net.py --config-file configs/FILE.yaml --num-gpus 2
    torchrun --nproc_per_node 2 train_net.py --config-file configs/FILE.yaml
Go on after an interruption:
    python train_net.py --config-file configs/FILE.yaml --resume
Evaluate:
    python train_net.py --config-file configs/FILE.yaml --eval-only MODEL.WEIGHTS FILE.pth
Evaluate what tools/export.py made:
    python train_net.py --model DIR --eval-only
"""

import argparse
from collections import OrderedDict

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from mobileinst_d2.engine import (
    CheckpointError,
    ConfigError,
    Trainer,
    add_exported_arguments,
    launch,
    setup_cfg_of_model,
)
from mobileinst_d2.export import ExportError


def setup(args: argparse.Namespace) -> CfgNode:
    """Build the config, the output directory and the loggers.

    Args:
        args: the parsed command line.

    Returns:
        The frozen config.
    """
    cfg = setup_cfg_of_model(args)
    cfg.freeze()
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="mobileinst_d2")
    return cfg


def evaluate(cfg: CfgNode, args: argparse.Namespace) -> OrderedDict:
    """Evaluate MODEL.WEIGHTS, the last checkpoint or an exported model on DATASETS.TEST.

    Args:
        cfg: the config.
        args: the parsed command line.

    Returns:
        The metrics.
    """
    if not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST names no data set to evaluate on.")
    model = Trainer.load_model(cfg, resume=args.resume, folder=args.model, runtime=args.runtime)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def main(args: argparse.Namespace) -> OrderedDict | None:
    """Run one process of the job.

    Args:
        args: the parsed command line.

    Returns:
        The metrics if there are any.
    """
    cfg = setup(args)
    if args.eval_only:
        return evaluate(cfg, args)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def invoke_main() -> None:
    """Parse the command line and start one process per GPU."""
    parser = default_argument_parser()
    add_exported_arguments(parser)
    args = parser.parse_args()
    if args.model and (args.resume or not args.eval_only):
        parser.error("--model is for --eval-only, without --resume: it cannot be trained further")
    try:
        # Here too, so that a mistake is told once and not by every process.
        setup_cfg_of_model(args)
        launch(
            main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
    except (CheckpointError, ConfigError, ExportError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    invoke_main()
