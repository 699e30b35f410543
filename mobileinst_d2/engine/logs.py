"""What a training tells on the terminal and in ``log.txt``."""

import argparse
import logging
import re
import sys

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from mobileinst_core.errors import UserError

__all__ = ["set_up_run"]

_logger = logging.getLogger(__name__)

# Logs the network. Detectron2's formatter abbreviates names in the record itself.
_LENGTHY = ("detectron2.engine.defaults", "d2.engine.defaults")
_MAX_LINES = 10
# Logs the environment, the command line and the config.
_SETUP = "detectron2"
_NAMES = ("fvcore", "detectron2", "mobileinst_d2", "mobileinst_core")
_COLOR = re.compile("\x1b\\[[0-9;]*m")


def set_up_run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Detectron2's ``default_setup``, with logs that are fit for what they go to.

    The loggers of this project go to the same places as Detectron2's. Files get no colour codes,
    nor does a terminal that is redirected to one. Environment, config and network, of hundreds of
    lines, are in ``log.txt``, and on the terminal only that they do, so that an error is not far
    from what was typed. OUTPUT_DIR is made.
    """
    rank = comm.get_rank()
    for name in _NAMES:
        # As default_setup calls it, which then adds no second output.
        options = {} if name == "detectron2" else {"name": name}
        logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, **options)
        streams = set()
        for handler in list(reversed(logger.handlers)):
            # Another command has set up the logger before.
            if handler.stream in streams:
                logger.removeHandler(handler)
            streams.add(handler.stream)
            if not isinstance(handler.formatter, _Fit):
                handler.setFormatter(_Fit(handler))
    consoles = [h for h in logging.getLogger(_SETUP).handlers if _is_console(h)]
    for handler in consoles:
        handler.addFilter(_not_of_setup)
    # On machines without a GPU it warns that there is none, which MODEL.DEVICE has told.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        default_setup(cfg, args)
    finally:
        for handler in consoles:
            handler.removeFilter(_not_of_setup)
    _logger.info("Command line, environment and config are in %s/log.txt.", cfg.OUTPUT_DIR)


def _not_of_setup(record: logging.LogRecord) -> bool:
    return record.name != _SETUP or record.levelno > logging.INFO


def _is_for_user(record: logging.LogRecord) -> bool:
    """Whether it is about an error that the command tells in one line."""
    return bool(record.exc_info) and isinstance(record.exc_info[1], UserError)


def _is_console(handler: logging.StreamHandler) -> bool:
    return handler.stream in (sys.stdout, sys.stderr)


class _Fit(logging.Formatter):
    """A formatter whose text fits the file or terminal that it is for."""

    def __init__(self, handler: logging.StreamHandler) -> None:
        super().__init__()
        self._inner = handler.formatter or logging.Formatter()
        self._shorten = _is_console(handler)
        self._plain = not (self._shorten and handler.stream.isatty())

    def format(self, record: logging.LogRecord) -> str:
        name = record.name
        text = self._inner.format(record)
        if self._plain:
            text = _COLOR.sub("", text)
        lines = text.splitlines()
        is_lengthy = name in _LENGTHY or _is_for_user(record)
        if self._shorten and len(lines) > _MAX_LINES and is_lengthy:
            text = f"{lines[0]} ({len(lines) - 1} lines, in log.txt)"
        return text
