"""What runs on a GPU, on a pretended one. Run by the test beside it; prints its findings as JSON.

Counted are the places where the processor waits for the device: reading values back, sending
values that were not there, and indexing whose result depends on values.
"""

import fakecuda

fakecuda.install(1)  # before anything else looks for a device

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from annotation_files import custom_dataset
from detectron2.engine.hooks import CallbackHook
from small_fastinst import build_small_fastinst
from small_sparseinst import build_small_sparseinst
from tiny_models import build_lively_model, tiny_config
from tiny_yolact import build_tiny_yolact, training_record

from mobileinst_core.ytvis.moving_shapes import make_moving_shapes
from mobileinst_d2.data.datasets import register_custom_datasets
from mobileinst_d2.engine import Trainer
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

WARM_UP, STEPS = 2, 3


def train(folder: Path, kind: str, **options: object) -> float:
    """Train some steps; returns the synchronisations of one."""
    name = f"simulated_{kind}_{len(options)}"
    cfg = tiny_config(
        MODEL__DEVICE="cuda",
        SOLVER__IMS_PER_BATCH=2,
        SOLVER__MAX_ITER=WARM_UP + STEPS + 1,  # the last one saves the weights
        SOLVER__CHECKPOINT_PERIOD=100,
        DATALOADER__NUM_WORKERS=0,
        INPUT__MIN_SIZE_TRAIN=(96,),
        TEST__EVAL_PERIOD=0,
        OUTPUT_DIR=str(folder / name),
        **options,
    )
    cfg.DATASETS.CUSTOM = [custom_dataset(folder / "train", name, kind)]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), ()
    register_custom_datasets(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    fakecuda.COUNTS.clear()

    def switch(trainer: Trainer) -> None:
        fakecuda.COUNTING[0] = WARM_UP <= trainer.iter < WARM_UP + STEPS

    trainer.register_hooks([CallbackHook(before_step=switch)])
    trainer.train()
    fakecuda.COUNTING[0] = False
    fakecuda.report(STEPS, name)
    return sum(fakecuda.COUNTS.values()) / STEPS


def frames(count: int) -> list[np.ndarray]:
    """A moving image, (96, 160, 3) uint8."""
    image = np.random.default_rng(0).integers(0, 256, (14, 22, 3), np.uint8)
    image = image.repeat(8, axis=0).repeat(8, axis=1)
    return [np.ascontiguousarray(image[n : n + 96, n : n + 160]) for n in range(count)]


def predictions(device: str) -> dict:
    """Whole videos and streams; a stream is saved on one device and goes on on the other."""
    cfg = tiny_config(MODEL__DEVICE=device, TEST__TRACKING__CLIP_LEN=2)
    cfg.TEST.STREAMING.SCORE_ON = cfg.TEST.STREAMING.SCORE_OFF = 0.0
    model = build_lively_model().to(device)
    on_cpu = build_lively_model()
    prepare = StreamingPredictor(cfg, model).prepare
    video = VideoPredictor(cfg, model).predict(map(prepare, frames(4)), (96, 160))
    stream = StreamingPredictor(cfg, model)
    shown = [len(stream.step(frame)) for frame in frames(3)]
    moved = []
    fakecuda.COUNTING[0] = False
    state = stream.state_dict()
    other = StreamingPredictor(cfg, on_cpu)
    other.load_state_dict(state)
    shown.append(len(other.step(frames(4)[3])))
    moved = [type(value).__name__ for value in state.values()]
    return {"tracks": len(video["pred_ids"]), "shown": shown, "state": sorted(Counter(moved))}


def transfers_of_a_stream() -> dict:
    """Bytes that go up and down in the steps of a stream, beside the image itself."""
    cfg = tiny_config(MODEL__DEVICE="cuda")
    cfg.TEST.STREAMING.SCORE_ON = cfg.TEST.STREAMING.SCORE_OFF = 0.0
    stream = StreamingPredictor(cfg, build_lively_model().to("cuda"))
    sizes = []
    to = torch.Tensor.to

    def watched(tensor: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        result = to(tensor, *arguments, **options)
        if result.is_cuda != tensor.is_cuda:
            sizes.append(("up" if result.is_cuda else "down", tuple(tensor.shape)))
        return result

    big = [np.ascontiguousarray(x.repeat(5, 0).repeat(5, 1)) for x in frames(2)]
    stream.step(big[0])
    torch.Tensor.to = watched
    cpu = torch.Tensor.cpu
    torch.Tensor.cpu = lambda tensor, *_: watched(tensor, "cpu")
    shown = stream.step(big[1])
    torch.Tensor.to, torch.Tensor.cpu = to, cpu
    return {"moved": sizes, "instances": len(shown), "size": big[0].shape[:2]}


def systems() -> dict:
    """The systems that MobileInst is compared with: synchronisations of losses, and results."""
    found = {}
    for name, build in {
        "sparseinst": build_small_sparseinst,
        "fastinst": build_small_fastinst,
        "yolact": build_tiny_yolact,
    }.items():
        model = build().to("cuda")
        batch = [
            training_record((64, 96), [(5, 5, 50, 40), (20, 10, 80, 60)], crowds=[[0, 0, 9, 9]]),
            training_record((64, 64), []),
        ]
        fakecuda.COUNTS.clear()
        fakecuda.COUNTING[0] = True
        losses = model(batch)
        sum(losses.values()).backward()
        fakecuda.COUNTING[0] = False
        count = sum(fakecuda.COUNTS.values())
        fakecuda.report(1, name)
        with torch.autocast("cuda", dtype=torch.float16):
            halves = model(batch)
        is_finite = all(bool(x.isfinite()) for x in (*losses.values(), *halves.values()))
        with torch.no_grad():
            instances = model.eval()([{"image": batch[0]["image"]}])[0]["instances"]
        found[name] = {
            "synchronisations": count,
            "finite": is_finite,
            "on_device": instances.scores.is_cuda and instances.pred_masks.is_cuda,
        }
    return found


def main() -> None:
    """Run everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_moving_shapes(folder, num_videos=4, num_frames=4, height=96, width=96, seed=0)
        found = {
            "clips": train(folder, "ytvis"),
            "amp": train(folder, "ytvis", SOLVER__AMP__ENABLED=True),
            "cpu": predictions("cpu"),
            "cuda": predictions("cuda"),
            "stream": transfers_of_a_stream(),
            "systems": systems(),
        }
    sys.stdout.write("\nFOUND " + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
