"""Training and evaluation: what train_net.py, the demo and the tools start from."""

from .checkpoint import CheckpointError, TrainingCheckpointer
from .launch import launch
from .optimizer import build_optimizer
from .setup import ConfigError, setup_cfg, without_backbone_weights
from .trainer import Trainer

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Trainer",
    "TrainingCheckpointer",
    "build_optimizer",
    "launch",
    "setup_cfg",
    "without_backbone_weights",
]
