"""Compare exported models with PyTorch on the videos of a data set.

Every video is tracked by both, live and as a whole. Told are the tracks that have the same track ID
and class in both, the frames in which live tracking shows the same track IDs, the IoU of the
tracks' masks in each frame, and the AP of both.

Example::

    python tools/compare_runtimes.py --weights output/model_final.pth --dataset ytvis_2019_val \\
        --model exported/onnx exported/ncnn
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from mobileinst_core.command import command
from mobileinst_core.files import write_json
from mobileinst_core.video.images import read_image
from mobileinst_core.ytvis.agreement import TrackAgreement
from mobileinst_d2.data.checks import check_num_classes
from mobileinst_d2.data.datasets import is_registered, is_video_dataset, load_videos
from mobileinst_d2.engine import ConfigError, load_predictor, setup_cfg_of_model
from mobileinst_d2.evaluation import YTVISEvaluator
from mobileinst_d2.export import RUNNERS, ExportedModel
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

from detectron2.config import CfgNode
from detectron2.utils.logger import setup_logger

HEADERS = ("model", "runtime", "precision", "input", "T", "same tracks", "same live frames")
HEADERS += ("IoU mean", "IoU min", "scores differ by", "AP PyTorch", "AP")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders that tools/export.py made of these weights",
    )
    add("--weights", required=True, metavar="FILE", help="the weights, for PyTorch")
    add("--dataset", metavar="NAME", help="video data set (default: the first of DATASETS.TEST)")
    add("--runtime", choices=sorted(RUNNERS), help="default: what each was exported for")
    add("--max-videos", type=int, metavar="N", help="only the first N videos, without AP")
    add("--json", type=Path, metavar="FILE", help="also write the numbers")
    add("opts", nargs=argparse.REMAINDER, help="config overrides: TEST.TRACKING.CLIP_LEN 3 ...")
    return parser.parse_args(argv)


class Prediction:
    """What a model gives for a data set: its tracks, the live track IDs and the AP."""

    def __init__(
        self, cfg: CfgNode, model: object, dataset: str, records: list[dict], *, score: bool
    ) -> None:
        """Predict.

        Args:
            cfg: the config.
            model: has ``keyframe`` and ``reuse``.
            dataset: its name.
            records: its videos, or some of them.
            score: whether to make the AP: some videos have none.
        """
        predictor, videos = StreamingPredictor(cfg, model), VideoPredictor(cfg, model)
        evaluator = YTVISEvaluator(dataset, distributed=False)
        self.tracks, self.live = [], []
        for record in tqdm(records, unit="video"):
            predictor.reset()
            tracks, ids = videos.new_video(), []
            for path in record["file_names"]:
                ids.append(predictor.step(read_image(path)).ID)
                tracks.add(predictor.prediction)
            size = (record["height"], record["width"])
            result = tracks.result(predictor.image_size, size)
            evaluator.process([record], [{"video_id": record["video_id"], **result}])
            self.tracks.append(result)
            self.live.append(ids)
        self.ap = evaluator.evaluate().get("segm", {}).get("AP") if score else None


def compare(args: argparse.Namespace, folder: Path, references: dict) -> dict:
    """Compare one exported model with PyTorch.

    Args:
        args: the command line.
        folder: the exported model.
        references: predictions of PyTorch by input size, kept for the next folder.

    Returns:
        One row of the table, by column.
    """
    own = argparse.Namespace(**{**vars(args), "model": folder, "config_file": ""})
    cfg = setup_cfg_of_model(own)
    if args.dataset:
        cfg.DATASETS.TEST = (args.dataset,)
    name, records = choose_videos(cfg, args.max_videos)
    score = not args.max_videos
    exported = ExportedModel(cfg, folder, runtime=args.runtime)
    if exported.size not in references:
        with_weights = cfg.clone()
        with_weights.MODEL.WEIGHTS = args.weights
        model = load_predictor(with_weights).model
        references[exported.size] = Prediction(with_weights, model, name, records, score=score)
    reference = references[exported.size]
    found = Prediction(cfg, exported, name, records, score=score)
    agreement = TrackAgreement()
    for ours, theirs in zip(reference.tracks, found.tracks, strict=True):
        agreement.add_tracks(ours, theirs)
    for ours, theirs in zip(reference.live, found.live, strict=True):
        agreement.add_live(ours, theirs)
    return {
        "model": str(folder),
        "runtime": args.runtime or exported.manifest.runtime,
        "precision": exported.manifest.precision,
        "size": list(exported.size),
        "clip_len": cfg.TEST.TRACKING.CLIP_LEN,
        **agreement.summary(),
        "ap_pytorch": reference.ap,
        "ap": found.ap,
    }


def choose_videos(cfg: CfgNode, max_videos: int | None) -> tuple[str, list[dict]]:
    """Name and records of the data set."""
    if not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST is empty: name a video data set with --dataset.")
    name = cfg.DATASETS.TEST[0]
    if not is_registered(name):
        raise ConfigError(f"There is no data set {name!r}; DATASETS.CUSTOM can add one.")
    if not is_video_dataset(name):
        raise ConfigError(f"{name} has no videos: compare results of train_net.py --eval-only.")
    cfg.DATASETS.TEST = (name,)
    check_num_classes(cfg)
    return name, load_videos(name)[:max_videos]


def table(rows: Sequence[dict]) -> str:
    """The rows as Markdown."""
    cells = [
        (
            Path(row["model"]).name,
            row["runtime"],
            row["precision"],
            "x".join(map(str, row["size"])),
            row["clip_len"],
            f"{row['same_tracks']} of {row['tracks']}",
            f"{row['same_frames']} of {row['frames']}",
            f"{row['iou_mean']:.5f}",
            f"{row['iou_min']:.4f}",
            f"{row['score_difference']:.1e}",
            "-" if row["ap_pytorch"] is None else f"{row['ap_pytorch']:.3f}",
            "-" if row["ap"] is None else f"{row['ap']:.3f}",
        )
        for row in rows
    ]
    return tabulate(cells, HEADERS, tablefmt="pipe", disable_numparse=True)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    setup_logger(name="mobileinst_d2")
    references: dict = {}
    rows = [compare(args, folder, references) for folder in args.model]
    if args.json:
        write_json(args.json, rows)
    print(table(rows))


if __name__ == "__main__":
    sys.exit(main())
