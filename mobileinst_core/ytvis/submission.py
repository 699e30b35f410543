"""Files for the evaluation servers of public video data sets."""

import json
import logging
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

from mobileinst_core.files import replacing, write_json

__all__ = ["SERVERS", "write_archive", "write_submission"]

logger = logging.getLogger(__name__)

# The names that the servers expect.
_RESULTS_FILE = "results.json"
_ARCHIVE_FILE = "results.zip"
# Where the public sets are evaluated, by the beginning of the data set's name.
SERVERS = {
    "ytvis_2019": "https://codalab.lisn.upsaclay.fr/competitions/6064",
    "ytvis_2021": "https://codalab.lisn.upsaclay.fr/competitions/7680",
    "ytvis_2022": "https://codalab.lisn.upsaclay.fr/competitions/3410",
    "ovis": "https://codalab.lisn.upsaclay.fr/competitions/4763",
}


def write_submission(results: list[dict[str, Any]], output_dir: str | PathLike[str]) -> Path:
    """Write ``results.json``, and ``results.zip`` for an evaluation server, into a folder.

    Files of an earlier run stay whole until the new ones are complete.

    Args:
        results: entries of the results format.
        output_dir: folder to write to; created if absent.

    Returns:
        Path of the archive.
    """
    folder = Path(output_dir)
    write_json(folder / _RESULTS_FILE, results)
    logger.info("Saved %d predicted tracks to %s", len(results), folder / _RESULTS_FILE)
    return write_archive(results, folder / _ARCHIVE_FILE)


def write_archive(results: list[dict[str, Any]], path: str | PathLike[str]) -> Path:
    """Write the archive that evaluation servers take: ``results.json`` at its root.

    Args:
        results: entries of the results format.
        path: the archive; replaced if it exists. Its folder is created if absent.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_RESULTS_FILE, json.dumps(results, separators=(",", ":")))
    return path
