"""Meta-architectures, registered in Detectron2's ``META_ARCH_REGISTRY``."""

from .base import InstanceSegmentor, VideoSegmentor
from .fastinst import FastInst
from .mobileinst import MobileInst
from .sparseinst import SparseInst

__all__ = ["FastInst", "InstanceSegmentor", "MobileInst", "SparseInst", "VideoSegmentor"]
