"""Export of models to the runtimes of phones, and the use of what was exported.

Nothing here imports a runtime before it is used.
"""

from mobileinst_core.runtime.manifest import Sidecar, read_sidecar
from mobileinst_core.runtime.runners import RUNNERS, ExportError, GraphRunner

from .export import check_output_dir, export_model
from .model import ExportedModel
from .quantize import INT8_RUNTIMES
from .writers import RUNTIMES, export_module, require

__all__ = [
    "INT8_RUNTIMES",
    "RUNNERS",
    "RUNTIMES",
    "ExportError",
    "ExportedModel",
    "GraphRunner",
    "Sidecar",
    "check_output_dir",
    "export_model",
    "export_module",
    "read_sidecar",
    "require",
]
