"""Meta-architectures, registered in Detectron2's ``META_ARCH_REGISTRY``."""

from .base import InstanceSegmentor, VideoSegmentor
from .fastinst import FastInst
from .mobileinst import MobileInst
from .sparseinst import SparseInst
from .yolact import YOLACT

__all__ = ["YOLACT", "FastInst", "InstanceSegmentor", "MobileInst", "SparseInst", "VideoSegmentor"]
