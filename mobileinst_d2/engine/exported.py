"""Exported models in place of networks, as command lines name them."""

import argparse

from detectron2.config import CfgNode

from mobileinst_d2.export import read_manifest

from .setup import ConfigError, setup_cfg

__all__ = ["setup_cfg_of_model"]

# Nothing of these can be changed in an exported model.
_FIXED = ("MODEL.", "INPUT.")


def setup_cfg_of_model(args: argparse.Namespace) -> CfgNode:
    """Build the config of a network, or of an exported model from its folder.

    What the evaluation of a folder DIR writes goes to DIR_evaluation beside it, unless OUTPUT_DIR
    is overridden.

    Args:
        args: the command line with ``config_file``, ``opts`` and those of
            :func:`mobileinst_core.demo_arguments.add_exported_arguments`.

    Returns:
        The config, not frozen.

    Raises:
        ConfigError: the options contradict each other, or see `setup_cfg`.
        ExportError: the folder was not made by this project's export, or is damaged.
    """
    if args.model is None:
        if args.runtime:
            raise ConfigError("--runtime is for exported models: name the folder with --model.")
        return setup_cfg(args.config_file, args.opts)
    if args.config_file:
        raise ConfigError(
            f"--config-file and --model exclude each other: {args.model} has the config that it "
            "was exported with."
        )
    for key in args.opts[::2]:
        if key.startswith(_FIXED):
            raise ConfigError(
                f"{key} cannot be changed in the exported model {args.model}: export it again, or "
                "leave out --model to use PyTorch."
            )
    read_manifest(args.model)  # tells what is wrong with a folder better than its config
    defaults = ["DATASETS.TRAIN", "()", "OUTPUT_DIR", f"{args.model.resolve()}_evaluation"]
    return setup_cfg(args.model / "config.yaml", [*defaults, *args.opts])
