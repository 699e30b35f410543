"""Meta-architectures, registered in Detectron2's ``META_ARCH_REGISTRY``."""

from .mobileinst import MobileInst

__all__ = ["MobileInst"]
