"""Measure how well each option of the association keeps identities, and suggest options.

The network runs once over the frames of a video data set with ground truth, best a training split
or the part of it that tools/split_ytvis.py keeps aside. Queries that show an object are found as in
training, and every option is then tried on what was recorded. The mode "none" is no option: there
each query is a slot. Where it does as well, the network hardly needs an association, and the data
cannot tell one from another.

Example::

    python tools/calibrate_tracker.py --config-file configs/toy/shapes_video.yaml \\
        --plot cosines.png MODEL.WEIGHTS output/demo/video/model_final.pth
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.data import transforms as T
from detectron2.structures import Instances
from matplotlib.figure import Figure
from tabulate import tabulate
from tqdm import tqdm

from mobileinst_d2.data.build import check_num_classes, is_video_dataset
from mobileinst_d2.data.mappers import ClipMapper
from mobileinst_d2.data.mappers.targets import decode_masks, make_instances, transform_masks
from mobileinst_d2.engine import CheckpointError, ConfigError, setup_cfg
from mobileinst_d2.engine.predictor import load_predictor
from mobileinst_d2.modeling.losses import paired_iou
from mobileinst_d2.modeling.matcher import HungarianMatcher
from mobileinst_d2.modeling.postprocess import instance_scores
from mobileinst_d2.modeling.targets import prepare_targets
from mobileinst_d2.tracking.calibration import (
    Calibration,
    IdentityCounts,
    RecordedFrame,
    association_grid,
    separation,
    suggest,
)
from mobileinst_d2.tracking.step import ASSOCIATION_FEATURES
from mobileinst_d2.utils.files import write_json

QUANTILES = (5, 25, 50, 75, 95)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="a yaml config")
    add("--dataset", metavar="NAME", help="video data set (default: those of DATASETS.TRAIN)")
    add("--max-videos", type=int, metavar="N", help="only the first N videos of each data set")
    add("--iou", type=float, default=0.5, help="mask IoU from which a query shows an object")
    for name, kind, default in (
        ("CLIP_LEN", int, "1,3,6"),
        ("EMA_MOMENTUM", float, "0.1,0.3,1"),
        ("BANK_SIZE", int, "3,10"),
        ("UPDATE_THRESHOLD", float, "0.1,0.2,0.4"),
    ):
        add(
            f"--{name.lower().replace('_', '-')}",
            type=numbers(kind),
            default=default,
            metavar="A,B,...",
            help=f"values of TEST.TRACKING.{name} to try (default: %(default)s)",
        )
    add("--json", type=Path, metavar="FILE", help="also write all numbers")
    add("--plot", type=Path, metavar="FILE", help="also draw histograms of the cosines")
    add("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args(argv)


def numbers(kind: type) -> Callable[[str], list]:
    """An argument with numbers of a kind, separated by commas."""

    def parse(text: str) -> list:
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} should be like 1,3,6") from error

    return parse


def load_videos(cfg: CfgNode, max_videos: int | None) -> list[dict]:
    """The records of DATASETS.TRAIN, with their ground truth."""
    records = []
    for name in cfg.DATASETS.TRAIN:
        if name not in DatasetCatalog:
            raise ConfigError(f"There is no data set {name!r}; DATASETS.CUSTOM can add one.")
        if not is_video_dataset(name):
            raise ConfigError(f"{name} has no videos; name a video data set with --dataset.")
        found = DatasetCatalog.get(name)[:max_videos]
        if any(record["tracks"] is None for record in found):
            raise ConfigError(f"{name} has no ground truth; take a training split.")
        records += found
    check_num_classes(cfg)
    return records


class Recorder:
    """Runs the network over videos and finds the queries that show objects."""

    def __init__(self, cfg: CfgNode, iou: float) -> None:
        """Build the network and load its weights."""
        if cfg.TEST.TRACKING.CHUNK < 1:
            raise ConfigError("TEST.TRACKING.CHUNK must be at least 1.")
        self.model = load_predictor(cfg).model
        self.matcher = HungarianMatcher(cfg)
        self.mapper = ClipMapper(cfg, is_train=False)
        self.chunk = cfg.TEST.TRACKING.CHUNK
        self.mask_threshold = cfg.TEST.MASK_THRESHOLD
        self.iou = iou

    def video(self, record: dict, progress: tqdm) -> list[RecordedFrame]:
        """Record all frames of a video."""
        images = self.mapper(record)["image"]
        frames = []
        for start in range(0, len(images), self.chunk):
            numbers = range(start, min(start + self.chunk, len(images)))
            frames += self._record(
                [{"image": images[number]} for number in numbers],
                [self._instances(record, number) for number in numbers],
            )
            progress.update(len(numbers))
        return frames

    @torch.no_grad()
    def _record(self, inputs: list[dict], annotated: list[Instances]) -> Iterator[RecordedFrame]:
        """Record frames that go through the network together."""
        images = self.model.preprocess(inputs)
        outputs = self.model.raw_outputs(images)
        masks, logits = outputs["mask_logits"], outputs["class_logits"]
        targets = prepare_targets(
            annotated, tuple(images.tensor.shape[-2:]), tuple(masks.shape[-2:]), masks.device
        )
        scores = instance_scores(logits, outputs["objectness_logits"]).amax(dim=2, keepdim=True)
        matches = self.matcher(logits, masks, targets)
        for i, (target, (queries, objects)) in enumerate(zip(targets, matches, strict=True)):
            probs = masks[i, queries].flatten(1).sigmoid()
            iou = paired_iou(probs, target.masks[objects].flatten(1), self.mask_threshold)
            shown = iou >= self.iou
            tracks = annotated[i].gt_ids[target.rows[objects[shown]].cpu()]
            yield RecordedFrame(
                embeddings={
                    feature: outputs[name][i].float().cpu()
                    for feature, name in ASSOCIATION_FEATURES.items()
                },
                scores=scores[i].float().cpu(),
                query_of=dict(zip(tracks.tolist(), queries[shown].tolist(), strict=True)),
            )

    def _instances(self, record: dict, number: int) -> Instances:
        """The visible objects of a frame; ``gt_ids`` are the numbers of their tracks."""
        rows = [
            row
            for row, track in enumerate(record["tracks"])
            if not track["iscrowd"] and track["segmentations"][number] is not None
        ]
        tracks = [record["tracks"][row] for row in rows]
        size = (record["height"], record["width"])
        resized = T.AugInput(np.zeros((*size, 3), np.uint8))
        transforms = self.mapper.augment.geometric(resized)
        masks = decode_masks([track["segmentations"][number] for track in tracks], size)
        masks = transform_masks(masks, transforms, output_size=resized.image.shape[:2])
        instances = make_instances(masks, [track["category_id"] for track in tracks])
        instances.gt_ids = torch.tensor(rows, dtype=torch.int64)
        return instances


def cosine_rows(calibration: Calibration) -> list[dict]:
    """Quantiles of the cosines, and how well they separate an object from others."""
    rows = []
    for (clip_len, feature), found in calibration.similarities.items():
        for kind, values in found._asdict().items():
            row = {"T": clip_len, "feature": feature, "object": kind.replace("_", " ")}
            row["pairs"] = len(values)
            quantiles = np.percentile(values, QUANTILES).tolist() if values else []
            row |= dict(zip_longest((f"{q}%" for q in QUANTILES), quantiles))
            same = kind != "different"
            row["separation"] = separation(values, found.different) if same else None
            rows.append(row)
    return rows


def identity_rows(calibration: Calibration) -> list[dict]:
    """One row per setting, and for each T one first in which each query is a slot."""
    rows = []
    for clip_len, videos in calibration.unassociated.items():
        none = (clip_len, None, "none", None, None, None)
        rows.append(identity_row(none, sum(videos, IdentityCounts())))
        rows += [
            identity_row(result.setting, result.total)
            for result in calibration.results
            if result.setting.clip_len == clip_len
        ]
    return rows


def identity_row(setting: tuple, total: IdentityCounts) -> dict:
    """A setting and its counts."""
    names = ("T", "feature", "mode", "m", "L", "threshold")
    return dict(zip(names, setting, strict=True)) | {
        "switches": total.switches,
        "of": total.continuations,
        "after gaps": total.return_switches,
        "of gaps": total.returns,
        "accuracy": total.accuracy,
    }


def suggestion_rows(calibration: Calibration) -> list[dict]:
    """What to use, and why, for each T."""
    rows = []
    for clip_len, unassociated in calibration.unassociated.items():
        of_length = [r for r in calibration.results if r.setting.clip_len == clip_len]
        suggestion = suggest(of_length)
        rows.append(
            {
                "T": clip_len,
                "config": suggestion.chosen.config(),
                "best": suggestion.best.setting.config(),
                "best_switches": suggestion.best.total.switches,
                "paper_switches": suggestion.paper.total.switches,
                "unassociated_switches": sum(counts.switches for counts in unassociated),
                "p_value": suggestion.p_value,
            }
        )
    return rows


def describe(row: dict) -> str:
    """A suggestion as text, with config overrides that can be copied."""
    lines = [
        f"Suggested for T = {row['T']}:",
        overrides(row["config"]),
        f"Identity switches: {row['unassociated_switches']} without association, "
        f"{row['paper_switches']} with the paper's, {row['best_switches']} with the best of the "
        "grid.",
    ]
    chance = f"(sign test over the videos: p = {row['p_value']:.2g})"
    if row["config"] != row["best"]:
        best = overrides(row["best"])
        lines.append(f"The best, {best}, is not better beyond chance {chance}.")
    elif row["p_value"] < 1:
        lines.append(f"It is the best {chance}. Measure it again on other videos.")
    return "\n  ".join(lines)


def overrides(config: dict) -> str:
    """Config values as on a command line."""
    return " ".join(f"{key} {value}" for key, value in config.items())


def draw(calibration: Calibration, path: Path) -> None:
    """Histograms of the cosines, one panel for each T and feature."""
    found = calibration.similarities
    lengths, features = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    figure = Figure(figsize=(5 * len(features), 3 * len(lengths)), layout="constrained")
    axes = figure.subplots(len(lengths), len(features), squeeze=False, sharex=True)
    bins = np.linspace(-1, 1, 81)
    for (clip_len, feature), kinds in found.items():
        panel = axes[lengths.index(clip_len), features.index(feature)]
        for kind, values in kinds._asdict().items():
            if values:
                label = f"{kind.replace('_', ' ')} ({len(values)})"
                panel.hist(values, bins, density=True, histtype="step", label=label)
        panel.set(title=f"{feature}, T = {clip_len}", xlabel="cosine", ylabel="density")
        panel.legend(loc="upper left", fontsize="small")
    figure.savefig(path)


def calibrate(args: argparse.Namespace) -> Calibration:
    """Record the videos and try the grid on them."""
    calibration = Calibration(
        association_grid(
            clip_lens=args.clip_len,
            momenta=args.ema_momentum,
            bank_sizes=args.bank_size,
            thresholds=args.update_threshold,
        )
    )
    cfg = setup_cfg(args.config_file, args.opts)
    if args.dataset:
        cfg.DATASETS.TRAIN = (args.dataset,)
    cfg.DATASETS.TEST = ()
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("MODEL.WEIGHTS is empty: random weights say nothing.")
    records = load_videos(cfg, args.max_videos)
    recorder = Recorder(cfg, args.iou)
    with tqdm(total=sum(record["length"] for record in records), unit="frame") as progress:
        for record in records:
            calibration.add_video(recorder.video(record, progress))
    if not any(result.total.continuations for result in calibration.results):
        raise ValueError(
            f"no object is shown twice at IoU {args.iou}; train for longer, or give a smaller --iou"
        )
    return calibration


def check(args: argparse.Namespace) -> None:
    """Find out at once what would fail at the end."""
    if not 0 <= args.iou <= 1:
        raise ConfigError(f"--iou is {args.iou}, it must be in [0, 1].")
    if args.max_videos is not None and args.max_videos < 1:
        raise ConfigError(f"--max-videos is {args.max_videos}, it must be at least 1.")
    kinds = Figure().canvas.get_supported_filetypes()
    if args.plot and args.plot.suffix.lower()[1:] not in kinds:
        raise ConfigError(f"--plot {args.plot} is no picture; use one of {', '.join(kinds)}.")
    for path in filter(None, (args.json, args.plot)):
        path.parent.mkdir(parents=True, exist_ok=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Record, measure, print."""
    args = parse_args(argv)
    try:
        check(args)
        report(args, calibrate(args))
    except (CheckpointError, OSError, ValueError) as error:
        sys.exit(f"calibrate_tracker: {error}")


def report(args: argparse.Namespace, calibration: Calibration) -> None:
    """Print the tables and suggestions, and write the files that were asked for."""
    content = {
        "cosines": cosine_rows(calibration),
        "identities": identity_rows(calibration),
        "suggestions": suggestion_rows(calibration),
    }
    options = {"headers": "keys", "floatfmt": ".3f", "missingval": "-"}
    print("Cosines between an object and earlier appearances, its own and those of others")
    print(tabulate(content["cosines"], **options))
    num_videos = len(calibration.results[0].videos)
    print(f"\nIdentity switches in {num_videos} videos")
    print(tabulate(content["identities"], **options))
    for row in content["suggestions"]:
        print(f"\n{describe(row)}")
    if args.json:
        write_json(args.json, content)
    if args.plot:
        draw(calibration, args.plot)


if __name__ == "__main__":
    main()
