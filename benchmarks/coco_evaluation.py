"""Measure what the evaluation of images costs after the network, and what COCO's metric costs.

Blobs are drawn as mask logits of a network. Timed interleaved, CPU time per image: the RLEs of
all results from the logits, as evaluation makes them, and by way of masks of the image's size. The
RLEs must be the same. Then COCO's metric of such results, by pycocotools and, if it is installed,
by faster-coco-eval, whose numbers must be the same.

Example::

    python benchmarks/coco_evaluation.py --results 100
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from reporting import add_counts, describe_machine, markdown_table, median_seconds

from mobileinst_core.command import command
from mobileinst_core.masks.rle import encode_mask
from mobileinst_core.postprocessing import PostProcessing

try:
    from faster_coco_eval import COCOeval_faster
except ImportError:
    COCOeval_faster = None

INPUT_SIZE, STRIDE, UPSAMPLING = (640, 640), 8, 2
CATEGORIES = 80


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = (
        ("images", 20, "images"),
        ("results", 100, "results of an image"),
        ("objects", 7, "annotated objects of an image"),
        ("repeats", 5, "measurements of each way"),
    )
    add_counts(parser, counts, size=(480, 640), of="an image")
    return parser.parse_args(argv)


def make_logits(generator: np.random.Generator, count: int) -> np.ndarray:
    """(count, h, w) mask logits: ellipses with soft and wavy borders."""
    height, width = (side // STRIDE for side in INPUT_SIZE)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    logits = np.empty((count, height, width), np.float32)
    for mask in logits:
        center = generator.uniform(0.1, 0.7, 2) * (height, width)
        radii = np.exp(generator.uniform(np.log(0.05), np.log(0.35), 2)) * (height, width)
        distance = np.hypot((y - center[0]) / radii[0], (x - center[1]) / radii[1])
        waves = cv2.GaussianBlur(generator.normal(size=mask.shape).astype(np.float32), None, 2)
        mask[:] = 8 * (1 - distance) + 3 * waves
    return logits


def encode_masks(predict: Callable, **options: object) -> list[dict]:
    """RLEs by way of whole masks."""
    return [encode_mask(mask) for mask in predict(**options).masks]


def evaluate(evaluation: type, truth: dict, results: list[dict]) -> np.ndarray:
    """COCO's numbers."""
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        annotations = [dict(entry) for entry in truth["annotations"]]
        ground_truth.dataset = {**truth, "annotations": annotations}
        ground_truth.createIndex()
        found = ground_truth.loadRes([dict(entry) for entry in results])
        metric = evaluation(ground_truth, found, "segm")
        metric.evaluate()
        metric.accumulate()
        metric.summarize()
    return np.array(metric.stats[:12])


def make_truth(
    generator: np.random.Generator, results: list[dict], args: argparse.Namespace
) -> dict:
    """Annotations, of which the results of some are right and the others have moved a little."""
    annotations = []
    for image in range(args.images):
        own = [entry for entry in results if entry["image_id"] == image]
        for entry in own[: args.objects]:
            mask = np.roll(mask_util.decode(entry["segmentation"]), generator.integers(-9, 10), 1)
            rle = encode_mask(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": entry["category_id"],
                    "iscrowd": 0,
                    "segmentation": rle,
                    "area": int(mask.sum()),
                    "bbox": mask_util.toBbox(rle).tolist(),
                }
            )
    height, width = args.size
    return {
        "info": {},
        "images": [{"id": i, "height": height, "width": width} for i in range(args.images)],
        "categories": [{"id": i, "name": str(i)} for i in range(CATEGORIES)],
        "annotations": annotations,
    }


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is not 0 if two ways differ.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    cv2.setNumThreads(1)
    generator, (height, width) = np.random.default_rng(0), args.size
    scale = min(INPUT_SIZE[0] / height, INPUT_SIZE[1] / width)
    predict = PostProcessing(max_detections=args.results, score_threshold=0).predict
    results, images = [], []
    for image in range(args.images):
        scores = generator.uniform(0.01, 1, (args.results, CATEGORIES)).astype(np.float32)
        images.append(
            {
                "scores": scores,
                "mask_logits": make_logits(generator, args.results),
                "image_size": (round(height * scale), round(width * scale)),
                "output_size": (height, width),
                "mask_stride": STRIDE,
                "mask_upsampling": UPSAMPLING,
            }
        )
        found = predict(**images[-1], encode=True)
        if encode_masks(predict, **images[-1]) != found.masks:
            print("the RLEs of masks and of logits differ", file=sys.stderr)
            return 1
        for rle, label, score in zip(found.masks, found.classes, found.scores, strict=True):
            entry = {"image_id": image, "category_id": int(label), "score": float(score)}
            results.append({**entry, "segmentation": rle})
    seconds = median_seconds(
        {
            "RLEs from logits": lambda: [predict(**image, encode=True) for image in images],
            "masks, then RLEs": lambda: [encode_masks(predict, **image) for image in images],
        },
        args.repeats,
    )
    truth = make_truth(generator, results, args)
    metrics = {"pycocotools": COCOeval}
    if COCOeval_faster is not None:
        metrics["faster-coco-eval"] = COCOeval_faster
    numbers = [evaluate(metric, truth, results) for metric in metrics.values()]
    if not all(np.allclose(numbers[0], other, rtol=0, atol=1e-12) for other in numbers):
        print(f"the metrics differ: {numbers}", file=sys.stderr)
        return 1
    ways = {
        name: lambda metric=metric: evaluate(metric, truth, results)
        for name, metric in metrics.items()
    }
    seconds |= median_seconds(ways, args.repeats)
    print(
        f"{args.images} images of {width}x{height}, {len(results) / args.images:.0f} results and "
        f"{args.objects} annotated objects each; medians of {args.repeats}; {describe_machine()}\n"
    )
    rows = [(name, f"{1000 * own / args.images:.1f}") for name, own in seconds.items()]
    print(markdown_table(("way", "CPU ms per image"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
