"""Scales at the start of training: logits, attention, losses and gradients of each network.

A network starts well if its predictions differ, do not saturate, and no loss drowns the others.
From the root of the project; docs/learning.md has the table that --size 128 gave::

    python benchmarks/initialization.py
    python benchmarks/initialization.py configs/toy/shapes_video.yaml --size 128 --json start.json
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from mobileinst_core.command import command
from mobileinst_core.ytvis.moving_shapes import make_moving_shapes
from mobileinst_d2.engine import setup_cfg
from mobileinst_d2.modeling.layers import MultiHeadAttention

from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "mobileinst"
NUM_FRAMES = 4
# Parts whose gradients are listed, each by the beginning of its parameters' names.
PARTS = ("backbone", "mask_decoder", "instance_decoder.queries", "instance_decoder.layers")
PARTS += tuple(f"instance_decoder.{head}_head" for head in ("class", "objectness", "kernel"))


def load_config(file: str | Path) -> CfgNode:
    """Read a config of MobileInst, by its path or name, for the CPU."""
    return setup_cfg(file, ["MODEL.DEVICE", "cpu"])


def default_configs() -> list[Path]:
    """One config per network of configs/mobileinst, and the ablations that build another one."""
    found: dict[str, Path] = {}
    for file in (*sorted(CONFIGS.glob("*_coco.yaml")), *sorted(CONFIGS.glob("ablations/*.yaml"))):
        cfg = load_config(file)
        heads = cfg.MODEL.MOBILEINST.clone()
        for key in ("LOSS", "QUERY_PASSING"):
            heads.pop(key)
        backbones = [cfg.MODEL[key] for key in ("BACKBONE", "TOPFORMER", "SEAFORMER", "TIMM")]
        found.setdefault(str((*backbones, heads)), file)
    return list(found.values())


def moving_shapes_clip(size: int) -> dict[str, Any]:
    """A training clip of the moving shapes, frames of ``size`` x ``size`` pixels."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_moving_shapes(
            folder, num_videos=1, num_val_videos=1, num_frames=NUM_FRAMES, height=size, width=size
        )
        train = Path(root) / "train"
        content = json.loads((train / "coco.json").read_text(encoding="utf-8"))
        frames, instances = [], []
        for image in content["images"]:
            pixels = detection_utils.read_image(train / "JPEGImages" / image["file_name"], "RGB")
            frames.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
            objects = [
                {**entry, "category_id": entry["category_id"] - 1, "bbox_mode": 1}
                for entry in content["annotations"]
                if entry["image_id"] == image["id"]
            ]
            target = detection_utils.annotations_to_instances(objects, (size, size), "bitmask")
            target.gt_ids = torch.arange(len(target))
            instances.append(target)
    return {"image": frames, "instances": instances, "height": size, "width": size}


class AttentionEntropy:
    """Records how evenly the attention layers of a network look at their keys."""

    def __init__(self, model: nn.Module) -> None:
        """Watch all attention layers of the instance decoder.

        Args:
            model: a MobileInst.
        """
        self.values: dict[str, float] = {}
        self.hooks = [
            module.register_forward_pre_hook(self._watch(name))
            for name, module in model.instance_decoder.named_modules()
            if isinstance(module, MultiHeadAttention)
        ]

    def _watch(self, name: str) -> Any:
        def watch(layer: MultiHeadAttention, inputs: tuple[torch.Tensor, ...]) -> None:
            query, key = inputs[0].detach(), inputs[1].detach()
            heads = (layer.num_heads, -1)
            q, k = layer.q_proj(query).unflatten(2, heads), layer.k_proj(key).unflatten(2, heads)
            logits = torch.einsum("bnhd,bmhd->bhnm", q, k) / q.shape[3] ** 0.5
            entropy = -(logits.softmax(3) * logits.log_softmax(3)).sum(3).mean()
            uniform = math.log(max(key.shape[1], 2))  # of one key it is 0 anyway
            # The first pass is the frame's own; passed queries come later.
            self.values.setdefault(name, entropy.item() / uniform)

        return watch

    def close(self) -> None:
        """Stop watching."""
        for hook in self.hooks:
            hook.remove()


def measure(cfg: CfgNode, clip: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """Scales of a network with its first weights, in training mode.

    Args:
        cfg: a config of MobileInst.
        clip: a training clip, see :func:`moving_shapes_clip`.
        seed: seed of the weights.

    Returns:
        "scales": standard deviations, "entropy": of each attention, as a share of the uniform one,
        "losses": weighted losses, "gradients": for each loss the norm of the gradient in each of
        the network's parts.
    """
    seed_all_rng(seed)
    model = build_model(cfg).train()
    watcher = AttentionEntropy(model)
    with torch.no_grad():
        images = model.preprocess_image([{"image": frame} for frame in clip["image"]])
        outputs = model.raw_outputs(images.tensor)
    watcher.close()
    masks = outputs["mask_logits"].flatten(2)
    scales = {
        "classes": outputs["class_logits"].std(2).mean(),
        "queries": outputs["class_logits"].std(1).mean(),
        "objectness": outputs["objectness_logits"].std(1).mean(),
        "kernels": outputs["kernels"].std(),
        "mask logits": masks.std(2).mean(),
        "largest mask logit": masks.abs().max(),
        "decoded queries": outputs["queries"].std(1).mean(),
    }
    losses = model([dict(clip)])
    gradients = {}
    for name, loss in losses.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        gradients[name] = {part: _gradient_norm(model, part) for part in PARTS}
    return {
        "scales": {name: value.item() for name, value in scales.items()},
        "entropy": watcher.values,
        "losses": {name: loss.item() for name, loss in losses.items()},
        "gradients": gradients,
    }


def _gradient_norm(model: nn.Module, part: str) -> float:
    gradients = [p.grad for name, p in model.named_parameters() if name.startswith(part)]
    return (
        torch.stack([g.norm() for g in gradients if g is not None] or [torch.zeros(())])
        .norm()
        .item()
    )


def report(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The measurements of several networks as Markdown tables."""
    style = {"tablefmt": "pipe", "floatfmt": ".2f"}
    tables = []
    for title, key in (
        ("Standard deviations", "scales"),
        ("Entropy of attention, 1 = uniform", "entropy"),
        ("Weighted losses", "losses"),
    ):
        rows = [{"network": name, **result[key]} for name, result in results.items()]
        tables.append(f"{title}:\n\n{tabulate(rows, headers='keys', **style)}")
    rows = [
        {"network": name, "loss": loss, **norms}
        for name, result in results.items()
        for loss, norms in result["gradients"].items()
    ]
    tables.append(f"Norms of the gradients:\n\n{tabulate(rows, headers='keys', **style)}")
    return "\n\n".join(tables)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "configs", nargs="*", metavar="FILE", help="default: every network of the zoo"
    )
    parser.add_argument("--size", type=int, default=256, help="side of the images (default: 256)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers as JSON")
    args = parser.parse_args(argv)
    clip = moving_shapes_clip(args.size)
    results = {}
    for file in args.configs or default_configs():
        results[Path(file).stem] = measure(load_config(file), clip, args.seed)
    print(report(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
