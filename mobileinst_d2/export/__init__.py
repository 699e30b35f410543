"""Export of models to the runtimes of phones, and the use of what was exported.

Nothing here imports a runtime before it is used.
"""

from mobileinst_core.runtime.manifest import Manifest, read_manifest
from mobileinst_core.runtime.runners import RUNNERS, ExportError, GraphRunner, require_runtime

from .export import check_output_dir, export_model
from .model import ExportedModel
from .quantize import INT8_RUNTIMES
from .writers import WRITERS, export_module, require_writer

__all__ = [
    "INT8_RUNTIMES",
    "RUNNERS",
    "WRITERS",
    "ExportError",
    "ExportedModel",
    "GraphRunner",
    "Manifest",
    "check_output_dir",
    "export_model",
    "export_module",
    "read_manifest",
    "require_runtime",
    "require_writer",
]
