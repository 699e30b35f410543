"""MobileInst for Detectron2.

Importing the package registers its backbones, decoders and meta-architectures with Detectron2; it
does nothing else. Data sets are registered when they are first used.
"""

import sys
import warnings

from mobileinst_core import __version__

# Needs neither Detectron2 nor PyTorch, whose import would take longer than the command itself.
_LIGHT_COMMAND = "mobileinst_d2.evaluation.ytvis"

# While Python looks for the module that -m names, it imports its package with this in sys.argv.
if sys.argv[:1] == ["-m"] and _LIGHT_COMMAND in sys.orig_argv:
    __all__ = ["__version__"]
else:
    # Detectron2 scripts two of its own functions at import; the notice is not for our users.
    warnings.filterwarnings("ignore", message="`torch.jit.script", category=FutureWarning)

    try:
        import detectron2  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "mobileinst_d2 needs Detectron2, which is on no package registry under its own name. "
            "Run `mobileinst-install-detectron2`, which came with this package, or install the "
            "official source with `pip install --no-build-isolation "
            "git+https://github.com/facebookresearch/detectron2`.",
            name=error.name,
        ) from error

    from . import data, modeling  # noqa: F401  (they register what they define)
    from .config import add_mobileinst_config

    __all__ = ["__version__", "add_mobileinst_config"]
