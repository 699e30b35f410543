"""Two processes do what one does: a small network on generated videos, on the CPU."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.engine.hooks import CallbackHook, EvalHook
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from mobileinst_core.ytvis.moving_shapes import make_moving_shapes
from mobileinst_d2.engine import Trainer, launch, setup_cfg

TOY = Path(__file__).resolve().parents[2] / "configs" / "toy" / "shapes_video.yaml"
# Other batch norms have the statistics of their own process.
NORM = "FrozenBN"
OPTIONS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.TIMM.NAME": "test_efficientnet",
    "MODEL.BACKBONE.NORM": NORM,
    "MODEL.MOBILEINST.NORM": NORM,
    "MODEL.MOBILEINST.MASK_DECODER.PYRAMID_NORM": NORM,
    "INPUT.MIN_SIZE_TRAIN": "(64,)",
    "INPUT.MIN_SIZE_TEST": "64",
    "DATASETS.TEST": "('shapes_train',)",
    "DATALOADER.NUM_WORKERS": "0",
    "SOLVER.IMS_PER_BATCH": "2",
    # AdamW takes whole steps along gradients that are nothing but rounding.
    "SOLVER.OPTIMIZER": "SGD",
    "SOLVER.BASE_LR": "0.002",
    "SOLVER.MAX_ITER": "3",
    "SOLVER.WARMUP_ITERS": "0",
}


def train_and_evaluate(output, weights):
    """Train, save to ``output``, then evaluate ``weights``."""
    torch.set_num_threads(1)
    cfg = setup_cfg(TOY, [part for item in OPTIONS.items() for part in item])
    cfg.OUTPUT_DIR = str(output)
    output.mkdir(exist_ok=True)
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer._hooks = [hook for hook in trainer._hooks if not isinstance(hook, EvalHook)]
    if comm.is_main_process():
        trainer.checkpointer.save("initial")
    losses = []

    def record(trainer):
        latest = trainer.storage.latest().items()
        losses.append({name: value for name, (value, _) in latest if "loss" in name})

    trainer.register_hooks([CallbackHook(after_step=record)])
    trainer.train()
    if comm.is_main_process():
        (output / "losses.json").write_text(json.dumps(losses))
    comm.synchronize()

    trainer.checkpointer.load(str(weights), checkpointables=[])
    if not comm.is_main_process():
        # As the batches of this process would have done.
        next(trainer.model.buffers()).add_(1)
    metrics = Trainer.test(cfg, trainer.model)
    (output / f"metrics.{comm.get_rank()}.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, one_thread):
    """Folders of the run in one process and of that in two; both evaluate the former's weights."""
    folder = tmp_path_factory.mktemp("distributed")
    make_moving_shapes(
        folder / "datasets" / "moving_shapes", num_videos=3, num_frames=4, height=64, width=96
    )
    one, two = folder / "one", folder / "two"
    with pytest.MonkeyPatch.context() as patch:
        # Detectron2 gives each process a GPU of its own, if there are any.
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.chdir(folder)
        weights = one / "model_final.pth"
        launch(train_and_evaluate, 1, args=(one, weights))
        launch(train_and_evaluate, 2, dist_url="auto", args=(two, weights))
    return one, two


def read(path):
    return json.loads(path.read_text())


def test_every_loss_of_every_step_is_that_of_one_process(runs):
    one, two = (read(folder / "losses.json") for folder in runs)
    assert len(one) == 3
    assert {"loss_cls", "loss_mask", "loss_obj", "loss_passed_mask", "total_loss"} <= one[0].keys()
    for first, second in zip(one, two, strict=True):
        assert second == pytest.approx(first, rel=3e-4)


def test_the_weights_take_the_way_of_one_process(runs):
    def weights(path):
        state = torch.load(path)["model"]
        return torch.cat([value.flatten().double() for value in state.values()])

    one, two = runs
    initial, final = weights(one / "initial.pth"), weights(one / "model_final.pth")
    assert torch.equal(weights(two / "initial.pth"), initial)
    way = final - initial
    assert way.norm() > 0
    assert (weights(two / "model_final.pth") - final).norm() < 1e-3 * way.norm()


def test_the_main_process_evaluates_alone_and_finds_the_same(runs):
    one, two = runs
    results = read(one / "inference" / "results.json")
    assert len({entry["video_id"] for entry in results}) > 1
    assert read(two / "inference" / "results.json") == results
    expected, found = (json.dumps(read(folder / "metrics.0.json")) for folder in runs)
    assert found == expected  # as text, in which NaN equals NaN
    assert "AP50" in found
    assert read(two / "metrics.1.json") == {}
