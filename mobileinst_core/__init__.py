"""What MobileInst needs around its network: annotations, masks, tracking, videos, runtimes.

Nothing here imports PyTorch or Detectron2, so an exported model, the metric and the converters
start in a moment and run where neither is installed.
"""

__version__ = "0.1.0"
