"""Measure how long a YouTube-VIS annotation file takes to read, and what its records take.

A file of moving blobs is generated, with masks as lists of run lengths, as YouTube-VIS has them, or
as compressed text. Times are CPU times for each mask, of `load_records` with all its checks and of
the JSON parser alone, interleaved. The memory is what Python allocates, for the records and for the
same tracks as plain lists and mappings.

Example::

    python benchmarks/annotations.py --masks 20000
"""

import argparse
import gc
import json
import logging
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson
from evaluation import Blob, run_lengths
from pycocotools import mask as mask_util
from reporting import add_counts, describe_machine, markdown_table, median_seconds

from mobileinst_core.command import command
from mobileinst_core.ytvis.records import load_records

FRAMES, TRACKS = 30, 5  # of a video
DISTINCT_MASKS = 500


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = (
        ("masks", 20_000, f"masks, in videos of {FRAMES * TRACKS}"),
        ("repeats", 5, "measurements of each way"),
    )
    add_counts(parser, counts, size=(720, 1280), of="a frame")
    return parser.parse_args(argv)


def make_masks(size: tuple[int, int]) -> list[dict]:
    """Compressed masks of blobs, always the same for the same size."""
    generator, masks = np.random.default_rng(0), []
    while len(masks) < DISTINCT_MASKS:
        mask = Blob(generator, size).mask(int(generator.integers(FRAMES)), 0.02)
        masks += [mask] if mask else []
    return masks


def write_file(path: Path, masks: list[dict], args: argparse.Namespace, *, as_lists: bool) -> None:
    """Write an annotation file in which the masks take turns."""
    height, width = args.size
    shape = {"height": height, "width": width, "length": FRAMES}
    boxes = [mask_util.toBbox(mask).tolist() for mask in masks]
    areas = [int(mask_util.area(mask)) for mask in masks]
    if as_lists:
        masks = [{**mask, "counts": run_lengths(mask)} for mask in masks]
    videos, tracks = [], []
    for video in range(1, max(args.masks // (FRAMES * TRACKS), 1) + 1):
        names = [f"{video:06d}/{frame:05d}.jpg" for frame in range(FRAMES)]
        videos.append({"id": video, "file_names": names, **shape})
        for _ in range(TRACKS):
            number = len(tracks) + 1
            chosen = [(31 * number + 7 * frame) % len(masks) for frame in range(FRAMES)]
            track = {"id": number, "video_id": video, "category_id": 1, "iscrowd": 0}
            track["segmentations"] = [masks[index] for index in chosen]
            track["bboxes"] = [boxes[index] for index in chosen]
            track["areas"] = [areas[index] for index in chosen]
            tracks.append({**track, **shape})
    categories = [{"id": 1, "name": "blob"}]
    path.write_text(json.dumps({"videos": videos, "categories": categories, "annotations": tracks}))


def allocated(make: Callable[[], object]) -> int:
    """Bytes that Python holds for a result."""
    gc.collect()
    tracemalloc.start(1)
    result = make()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del result
    return size


def as_lists_and_mappings(path: Path) -> list[dict]:
    """The records of a file, of Python's own objects."""
    records, _ = load_records(path, "")
    for record in records:
        for track in record["tracks"]:
            track |= {key: list(track[key]) for key in ("segmentations", "bboxes", "areas")}
    return records


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    logging.disable(logging.INFO)
    masks, rows = make_masks(tuple(args.size)), []
    count = max(args.masks // (FRAMES * TRACKS), 1) * FRAMES * TRACKS
    numbers = sum(len(run_lengths(mask)) for mask in masks) / len(masks)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        for kind in ("lists of integers", "compressed text"):
            write_file(path, masks, args, as_lists=kind == "lists of integers")
            content = path.read_bytes()
            ways = {
                "load_records": lambda: load_records(path, ""),
                "the JSON parser alone": lambda content=content: orjson.loads(content),
            }
            seconds = median_seconds(ways, args.repeats)
            alone = seconds["the JSON parser alone"]
            for name, own in seconds.items():
                rows.append((kind, name, f"{1e6 * own / count:.1f}", f"{own / alone:.2f}"))
        sizes = {
            "load_records": allocated(lambda: load_records(path, "")),
            "lists and mappings": allocated(lambda: as_lists_and_mappings(path)),
        }
    height, width = args.size
    print(
        f"{count} masks of {width}x{height} pixels, {numbers:.0f} run lengths each on average; "
        f"medians of {args.repeats}; {describe_machine()}\n"
    )
    headers = ("masks in the file", "read by", "CPU us per mask", "parser alone = 1")
    print(markdown_table(headers, rows) + "\n")
    plain = sizes["lists and mappings"]
    rows = [(name, f"{own / count:.0f}", f"{own / plain:.2f}") for name, own in sizes.items()]
    print(markdown_table(("records", "bytes per mask", "ratio"), rows))


if __name__ == "__main__":
    sys.exit(main())
