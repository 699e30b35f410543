"""The metric of YouTube-VIS a second time, from its definition, with loops over pixels."""

import numpy as np
from pycocotools import mask as mask_util

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = {"": (0, 1e10), "s": (0, 128**2), "m": (128**2, 256**2), "l": (256**2, 1e10)}


def pixels(segmentation, height, width) -> np.ndarray:
    if not segmentation:
        return np.zeros((height, width), bool)
    if isinstance(segmentation, list):
        codes = mask_util.frPyObjects(segmentation, height, width)
        return mask_util.decode(codes).any(axis=2)
    if isinstance(segmentation["counts"], list):
        values = np.arange(len(segmentation["counts"])) % 2 == 1
        return np.repeat(values, segmentation["counts"]).reshape((height, width), order="F")
    return mask_util.decode([segmentation])[:, :, 0].astype(bool)


def mean_of_nonzero(values) -> float:
    values = [value for value in values if value]
    return sum(values) / len(values) if values else 0.0


def volumes(entries, videos) -> list[dict]:
    """Entries with boolean masks (frames, height, width)."""
    result = []
    for entry in entries:
        size = videos[entry["video_id"]]
        masks = np.stack([pixels(s, size["height"], size["width"]) for s in entry["segmentations"]])
        areas = entry.get("areas")
        areas = masks.sum(axis=(1, 2)).tolist() if areas is None else areas
        result.append({**entry, "masks": masks, "area": mean_of_nonzero(areas)})
    return result


def track_iou(first, second) -> float:
    union = (first["masks"] | second["masks"]).sum()
    return float((first["masks"] & second["masks"]).sum() / union) if union else 0.0


def match(dts, gts, ious, threshold, low, high) -> list[tuple[float, str]]:
    """Outcome "true", "false" or "ignored" of each prediction, best score first."""
    ignored = [bool(g.get("iscrowd")) or not low <= g["area"] <= high for g in gts]
    taken, outcomes = set(), []

    def best(d, pool):
        possible = [
            g
            for g in pool
            if (g not in taken or gts[g].get("iscrowd"))
            and ious[id(d), g] >= min(threshold, 1 - 1e-10)
        ]
        # Of equals, the last.
        return max(possible, key=lambda g: (ious[id(d), g], g), default=None)

    for d in dts:
        found = best(d, [g for g in range(len(gts)) if not ignored[g]])
        if found is None:
            found = best(d, [g for g in range(len(gts)) if ignored[g]])
        if found is None:
            outcome = "false" if low <= d["area"] <= high else "ignored"
        else:
            taken.add(found)
            outcome = "ignored" if ignored[found] else "true"
        outcomes.append((d["score"], outcome))
    return outcomes


def curve(outcomes, positives) -> tuple[float, float]:
    """Interpolated average precision and final recall."""
    ranked = sorted(outcomes, key=lambda item: -item[0])
    true = false = 0
    points = []
    for _, outcome in ranked:
        true += outcome == "true"
        false += outcome == "false"
        points.append((true / positives, true / (true + false + np.spacing(1))))
    precisions = [
        max((precision for recall, precision in points if recall >= level), default=0.0)
        for level in RECALLS
    ]
    return float(np.mean(precisions)), points[-1][0] if points else 0.0


def evaluate_by_definition(gt, results) -> tuple[dict, dict]:
    """All metrics in percent, and the AP by category id; NaN where undefined."""
    videos = {video["id"]: video for video in gt["videos"]}
    gts, dts = volumes(gt["annotations"], videos), volumes(results, videos)
    table = {}  # (category, area, maximum, threshold) -> (AP, recall)
    for category in [c["id"] for c in gt["categories"]]:
        groups = []
        for video in sorted(videos):
            own = {"video_id": video, "category_id": category}
            g = [x for x in gts if {k: x[k] for k in own} == own]
            d = [x for x in dts if {k: x[k] for k in own} == own]
            d = sorted(d, key=lambda x: -x["score"])[:100]
            groups.append((d, g, {(id(a), i): track_iou(a, b) for a in d for i, b in enumerate(g)}))
        for area, (low, high) in AREAS.items():
            positives = sum(
                not x.get("iscrowd") and low <= x["area"] <= high for _, g, _ in groups for x in g
            )
            for threshold in THRESHOLDS if positives else ():
                outcomes = [match(*group, threshold, low, high) for group in groups]
                for maximum in (1, 10, 100):
                    cut = [item for video in outcomes for item in video[:maximum]]
                    table[category, area, maximum, threshold] = curve(cut, positives)

    def mean(column, area, maximum, threshold=None, category=None):
        values = [
            value[column]
            for (c, a, m, t), value in table.items()
            if (a, m) == (area, maximum)
            and (threshold is None or t == threshold)
            and (category is None or c == category)
        ]
        return 100 * float(np.mean(values)) if values else float("nan")

    summary = {
        "AP": mean(0, "", 100),
        "AP50": mean(0, "", 100, THRESHOLDS[0]),
        "AP75": mean(0, "", 100, THRESHOLDS[5]),
        **{f"AP{area}": mean(0, area, 100) for area in "sml"},
        **{f"AR{maximum}": mean(1, "", maximum) for maximum in (1, 10, 100)},
    }
    return summary, {c["id"]: mean(0, "", 100, None, c["id"]) for c in gt["categories"]}
