"""Measure how fast training clips of videos are made, and what the annotations cost in memory.

`ClipMapper` decodes the masks of the frames that it takes. It is measured, interleaved, with a
mapper that copies the whole record of the video and decodes every mask of it for each clip. Then
the whole loader is measured with and without worker processes, and the memory that the records
take in each of them, serialised once for all, or as a plain list. Without --dataset, videos of
moving shapes are made for it, of the size and length of YouTube-VIS.

Example::

    python benchmarks/training_data.py --dataset ytvis_2019_train --json data.json
"""

import argparse
import copy
import gc
import itertools
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from reporting import describe_machine
from tabulate import tabulate

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command
from mobileinst_core.files import write_json
from mobileinst_core.video.images import read_image
from mobileinst_d2.data import ClipMapper, build_train_loader
from mobileinst_d2.data.datasets import (
    is_registered,
    is_video_dataset,
    load_videos,
    make_moving_shapes,
    register_ytvis_instances,
)
from mobileinst_d2.data.mappers.samples import decode_masks, make_clip_instances
from mobileinst_d2.data.stream import ClipDataset
from mobileinst_d2.engine import ConfigError, setup_cfg

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "configs" / "mobileinst" / "mobileinst_topformer-b_ytvis19.yaml"
SHAPES = "benchmark_shapes"
# Number and length of the videos of moving shapes, and size of their frames in pixels.
SHAPES_VIDEOS, SHAPES_FRAMES, SHAPES_SIZE = 8, 36, (360, 640)
MIB = 2**20


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, count = parser.add_argument, whole_number(1)
    add(
        "--config-file",
        default=str(CONFIG),
        metavar="FILE",
        help="for INPUT and DATALOADER, default mobileinst_topformer-b_ytvis19.yaml",
    )
    add("--dataset", metavar="NAME", help="video data set with ground truth (default: shapes)")
    add("--clips", type=count, default=64, metavar="N", help="clips per repeat, default 64")
    add("--repeats", type=count, default=5, metavar="N", help="default 5")
    add("--workers", type=count, default=2, metavar="N", help="of the loader, default 2")
    add("--json", type=Path, metavar="FILE", help="also write all numbers")
    add("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args(argv)


class DecodeAllMapper:
    """Makes the same clips as a `ClipMapper`, of a copy of the record with every mask decoded."""

    def __init__(self, mapper: ClipMapper) -> None:
        """Take over the settings of the other mapper."""
        self.mapper = mapper

    def __call__(self, record: dict) -> dict:
        """Map a record with a ``reference_frame`` to images and instances."""
        record = copy.deepcopy(record)
        size = (record["height"], record["width"])
        for track in record["tracks"]:
            track["masks"] = decode_masks(track["segmentations"], size)
        tracks = [track for track in record["tracks"] if not track["iscrowd"]]
        tracks.sort(key=lambda track: track["id"])
        reference = record["reference_frame"]

        def shares(frame: int) -> bool:
            both = (reference, frame)
            return any(all(track["masks"][t] is not None for t in both) for track in tracks)

        frames = self.mapper.sampler(reference, record["length"], shares)
        tracks = [t for t in tracks if any(t["masks"][frame] is not None for frame in frames)]
        images = [
            read_image(
                record["file_names"][frame],
                self.mapper.image_format,
                size=size,
                allow_transposed=True,
            )
            for frame in frames
        ]
        masks = [[track["masks"][frame] for track in tracks] for frame in frames]
        images, masks = self.mapper.augment(images, masks)
        instances = make_clip_instances(
            masks, [track["category_id"] for track in tracks], [track["id"] for track in tracks]
        )
        return {"frame_idx": frames, "image": images, "instances": instances}


def measure_mappers(
    cfg: CfgNode, dataset: ClipDataset, clips: int, repeats: int
) -> dict[str, float]:
    """Median seconds per clip of both mappers, which take turns on the same records."""
    own = ClipMapper(cfg, is_train=True)
    mappers = {"ClipMapper": own, "decode all": DecodeAllMapper(own)}
    generator = np.random.default_rng(0)
    seconds = {name: [] for name in mappers}
    for repeat in range(1 + repeats):  # the first one warms up
        indices = generator.integers(0, len(dataset), clips).tolist()
        for name, mapper in mappers.items():
            np.random.seed(repeat)
            start = time.perf_counter()
            for index in indices:
                mapper(dataset[index])
            if repeat:
                seconds[name].append((time.perf_counter() - start) / clips)
    return {name: statistics.median(times) for name, times in seconds.items()}


def measure_loader(cfg: CfgNode, workers: int, clips: int, repeats: int) -> float:
    """Median frames per second that the training loader gives to a model that takes no time."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = workers
    loader = build_train_loader(cfg)
    batches = iter(loader)
    count = max(1, clips // loader.batch_size)
    # The workers start, and what they have made in the meantime is used up.
    for _ in itertools.islice(batches, 1 + 2 * workers):
        pass
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        frames = sum(len(clip["image"]) for b in itertools.islice(batches, count) for clip in b)
        rates.append(frames / (time.perf_counter() - start))
    return statistics.median(rates)


def private_memory() -> int:
    """Bytes of this process in RAM that it shares with no other process (Linux)."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return 1024 * sum(int(x) for x in re.findall(r"^Private_\w+:\s+(\d+) kB$", text, re.M))


def worker_memory(read_all: Callable[[], object]) -> int | None:
    """Bytes that a worker process needs for itself to read every record once.

    Args:
        read_all: reads all records, in the worker.

    Returns:
        The growth of its private memory; None where that cannot be measured (not Linux).
    """
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def measure() -> None:
        gc.disable()  # it would write to objects of all kinds
        private_memory()
        before = private_memory()
        read_all()
        sender.send(private_memory() - before)

    process = context.Process(target=measure)
    process.start()
    sender.close()
    grown = receiver.recv()
    process.join()
    return grown


def measure_memory(records: list[dict], dataset: ClipDataset) -> dict[str, int | None]:
    """Memory of the records in a worker, as they are kept, and as a list that is not serialised."""

    def read_serialised() -> None:
        for index in range(len(dataset)):
            dataset[index]

    def read_list() -> None:
        for record in records:
            copy.deepcopy(record)

    return {"serialised": worker_memory(read_serialised), "list": worker_memory(read_list)}


@contextmanager
def chosen_dataset(name: str | None) -> Iterator[str]:
    """The name of the data set to measure; that of moving shapes is made for the time being."""
    if name is not None:
        if not is_registered(name):
            raise ConfigError(f"There is no data set {name!r}; DATASETS.CUSTOM can add one.")
        if not is_video_dataset(name):
            raise ConfigError(f"{name} has no videos; name a video data set with --dataset.")
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        height, width = SHAPES_SIZE
        make_moving_shapes(
            folder,
            num_videos=SHAPES_VIDEOS,
            num_val_videos=1,
            num_frames=SHAPES_FRAMES,
            height=height,
            width=width,
        )
        train = Path(folder) / "train"
        register_ytvis_instances(SHAPES, {}, train / "instances.json", train / "JPEGImages")
        try:
            yield SHAPES
        finally:
            DatasetCatalog.remove(SHAPES)
            MetadataCatalog.remove(SHAPES)


def measure(cfg: CfgNode, args: argparse.Namespace) -> dict:
    """All numbers, for `--json`."""
    with chosen_dataset(args.dataset) as name:
        cfg.DATASETS.TRAIN, cfg.DATASETS.RATIO = (name,), ()
        records = [record for record in load_videos(name) if record["tracks"]]
        if not records:
            raise ConfigError(f"{name} has no ground truth; take a training split.")
        dataset = build_train_loader(cfg).dataset.datasets[0]
        frames = ClipDataset(records)
        return {
            "machine": describe_machine(),
            "dataset": name,
            "videos": len(records),
            "frames": sum(record["length"] for record in records),
            "masks": sum(
                mask is not None
                for record in records
                for track in record["tracks"]
                for mask in track["segmentations"]
            ),
            "frames_per_clip": cfg.INPUT.SAMPLING_FRAME_NUM,
            "clips": args.clips,
            "repeats": args.repeats,
            "seconds_per_clip": measure_mappers(cfg, frames, args.clips, args.repeats),
            "frames_per_second": {
                workers: measure_loader(cfg, workers, args.clips, args.repeats)
                for workers in (0, args.workers)
            },
            "worker_memory_bytes": measure_memory(records, dataset),
        }


def report(found: dict) -> str:
    """The numbers as Markdown tables."""
    own, other = found["seconds_per_clip"].values()
    mappers = [
        (name, f"{1000 * seconds:.1f}", f"{found['frames_per_clip'] / seconds:.1f}", f"{ratio:.2f}")
        for (name, seconds), ratio in zip(
            found["seconds_per_clip"].items(), (1.0, other / own), strict=True
        )
    ]
    loaders = [(n, f"{rate:.1f}") for n, rate in found["frames_per_second"].items()]
    memory = [
        (kind, "not measured" if size is None else f"{size / MIB:.1f}")
        for kind, size in found["worker_memory_bytes"].items()
    ]
    tables = (
        (("mapper", "ms per clip", "frames/s", "time ratio"), mappers),
        (("loader processes", "frames/s"), loaders),
        (("records kept as", "MiB in each worker"), memory),
    )
    title = (
        f"{found['dataset']}: {found['videos']} videos, {found['frames']} frames, "
        f"{found['masks']} masks; clips of {found['frames_per_clip']} frames; medians of "
        f"{found['repeats']} x {found['clips']} clips; one core per process; {found['machine']}"
    )
    texts = [
        tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)
        for headers, rows in tables
    ]
    return "\n\n".join([title, *texts])


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found = measure(setup_cfg(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"]), args)
    print(report(found))
    if args.json:
        write_json(args.json, found)


if __name__ == "__main__":
    sys.exit(main())
