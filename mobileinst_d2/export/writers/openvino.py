"""Files for OpenVINO, which reads ONNX."""

from .onnx import ONNX

__all__ = ["OPENVINO"]

OPENVINO = ONNX
