"""Train or evaluate a model: ``mobileinst-train``, and ``train_net.py`` of a clone."""

import argparse
import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from mobileinst_core.command import command
from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine import (
    Trainer,
    add_exported_arguments,
    launch,
    set_up_run,
    setup_cfg_of_model,
)
from mobileinst_d2.model_zoo import find_config_file

_EXAMPLES = """
Examples, in a clone of the project with `python train_net.py` in place of mobileinst-train:

Train on two GPUs (or, without any, in two CPU processes):
    $ mobileinst-train --config-file FILE.yaml --num-gpus 2
Resume after an interruption:
    $ mobileinst-train --resume OUTPUT_DIR FOLDER
Evaluate:
    $ mobileinst-train --config-file FILE.yaml --eval-only MODEL.WEIGHTS FILE.pth
Evaluate what mobileinst-export made:
    $ mobileinst-train --model DIR --eval-only

FILE.yaml is a path, or the name of a config of the package, such as
mobileinst/mobileinst_topformer-b_coco.yaml.
"""


def setup(args: argparse.Namespace) -> CfgNode:
    """Build the frozen config."""
    cfg = setup_cfg_of_model(args)
    cfg.freeze()
    if args.config_file:
        args.config_file = find_config_file(args.config_file)  # Detectron2 logs its content
    return cfg


@contextmanager
def config_of_training_kept(folder: str, *, always: bool) -> Iterator[None]:
    """A context that leaves the ``config.yaml`` of an earlier training in a folder as it was.

    A training goes on from it, and a demo shows what it says: it is not that of an evaluation, nor
    of a training that did not start.

    Args:
        folder: OUTPUT_DIR.
        always: and not only where the context ends by an exception.
    """
    path = Path(folder, "config.yaml")
    before = path.read_bytes() if comm.is_main_process() and path.is_file() else None
    is_started = False
    try:
        yield
        is_started = True
    finally:
        if before is not None and (always or not is_started):
            path.write_bytes(before)


def evaluate(cfg: CfgNode, args: argparse.Namespace) -> OrderedDict:
    """Evaluate MODEL.WEIGHTS, the last checkpoint or an exported model on DATASETS.TEST."""
    if not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST names no data set to evaluate on.")
    model = Trainer.load_model(cfg, resume=args.resume, folder=args.model, runtime=args.runtime)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def main(args: argparse.Namespace) -> OrderedDict | None:
    """Run one process of the job; returns the metrics if there are any."""
    cfg = setup(args)
    with config_of_training_kept(cfg.OUTPUT_DIR, always=args.eval_only):
        set_up_run(cfg, args)
        if not args.eval_only:
            trainer = Trainer(cfg)
            trainer.resume_or_load(resume=args.resume)
    if args.eval_only:
        return evaluate(cfg, args)
    return trainer.train()


def _config_of_folder(opts: Sequence[str]) -> str:
    """The config that a training wrote to its OUTPUT_DIR."""
    folder = dict(zip(opts[::2], opts[1::2], strict=False)).get("OUTPUT_DIR")
    if folder is None:
        raise ConfigError("--resume needs --config-file FILE, or OUTPUT_DIR FOLDER of the training")
    path = Path(folder, "config.yaml")
    if not path.is_file():
        raise ConfigError(f"there is no training to resume: {path} is missing")
    return str(path)


@command
def invoke_main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and start one process per GPU.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    parser = default_argument_parser(_EXAMPLES)
    add_exported_arguments(parser)
    args = parser.parse_args(argv)
    if args.model and (args.resume or not args.eval_only):
        parser.error("--model is for --eval-only, without --resume: it cannot be trained further")
    if args.resume and not args.config_file:
        args.config_file = _config_of_folder(args.opts)
    # Here too, so that a mistake is told once and not by every process; warnings are told there.
    logging.disable(logging.WARNING)
    try:
        setup_cfg_of_model(args)
    finally:
        logging.disable(logging.NOTSET)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
