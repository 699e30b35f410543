"""Weights: what is read from files, under which names, and how it gets into a model."""

from .backbones import load_backbone_weights, load_pretrained_backbone, start_network
from .checkpointer import TrainingCheckpointer
from .class_layers import adapt_class_layers
from .folded_norm import folded_norms, refit_norms
from .reading import CheckpointError, read_checkpoint

__all__ = [
    "CheckpointError",
    "TrainingCheckpointer",
    "adapt_class_layers",
    "folded_norms",
    "load_backbone_weights",
    "load_pretrained_backbone",
    "read_checkpoint",
    "refit_norms",
    "start_network",
]
