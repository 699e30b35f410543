"""Training and evaluation: what train_net.py, the demo and the tools start from."""

from mobileinst_core.demo_arguments import add_exported_arguments
from mobileinst_d2.checkpoint import CheckpointError, TrainingCheckpointer

from .exported import setup_cfg_of_model
from .launch import launch
from .logs import set_up_run
from .optimizer import build_optimizer
from .predictor import Predictor, load_predictor
from .setup import ConfigError, setup_cfg
from .trainer import Trainer

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Predictor",
    "Trainer",
    "TrainingCheckpointer",
    "add_exported_arguments",
    "build_optimizer",
    "launch",
    "load_predictor",
    "set_up_run",
    "setup_cfg",
    "setup_cfg_of_model",
]
