"""A network and a data set that train in milliseconds, for the tests of the engine."""

import itertools

import numpy as np
import torch
from config_files import default_config
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.samplers import TrainingSampler
from detectron2.engine.hooks import CallbackHook
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from mobileinst_d2.data.stream import ResumableLoader
from mobileinst_d2.engine import Trainer

DATASET = "toy_engine_train"
RECORDS = [{"image_id": i, "level": 10.0 * i} for i in range(12)]


class KillError(Exception):
    """Stands for the kill of a training."""


class ToyNet(nn.Module):
    """A backbone with batch normalisation, a dropout and two losses; faults on request."""

    # (kind, iteration): what goes wrong and when.
    fault = (None, -1)

    def __init__(self, cfg):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4, 2)
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
        self.to(cfg.MODEL.DEVICE)

    @property
    def device(self):
        return self.pixel_mean.device

    def forward(self, batched_inputs):
        images = torch.stack([x["image"].to(self.device) for x in batched_inputs]).float() / 255
        features = self.backbone(images - self.pixel_mean).mean(dim=(2, 3))
        first, second = self.head(self.dropout(features)).unbind(1)
        losses = {"loss_first": (first - 1).square().mean(), "loss_second": second.square().mean()}
        kind, iteration = self.fault
        if kind and get_event_storage().iter == iteration:
            if kind == "gradient":
                # Finite at zero, with the infinite slope of a square root.
                losses["loss_second"] = losses["loss_second"] + (second * 0).abs().sqrt().mean()
            else:
                losses["loss_second"] = losses["loss_second"] * float(kind)
        return losses


if "ToyNet" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(ToyNet)
if DATASET not in DatasetCatalog.list():
    DatasetCatalog.register(DATASET, lambda: RECORDS)
    MetadataCatalog.get(DATASET).set(thing_classes=["thing"], evaluator_type="coco")


def toy_mapper(record):
    """An image whose noise comes from two global generators."""
    noise = torch.from_numpy(np.random.rand(3, 8, 8).astype("float32")) + torch.rand(3, 8, 8)
    return {"image": record["level"] + 50 * noise, "image_id": record["image_id"]}


class ToyTrainer(Trainer):
    """The trainer with the toy data."""

    @classmethod
    def build_train_loader(cls, cfg):
        return ResumableLoader(
            RECORDS,
            toy_mapper,
            lambda seed: TrainingSampler(len(RECORDS), seed=seed),
            batch_size=cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )


def make_cfg(output_dir, *opts):
    """A config for `ToyTrainer`."""
    cfg, solver = default_config(), {"IMS_PER_BATCH": 4, "BASE_LR": 0.01, "MAX_ITER": 12}
    cfg.SOLVER.update(solver, STEPS=(9,), WARMUP_ITERS=3, CHECKPOINT_PERIOD=4)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.NUM_CLASSES = "ToyNet", 1
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (DATASET,), ()
    cfg.DATALOADER.NUM_WORKERS, cfg.SEED = 0, 7
    cfg.OUTPUT_DIR = str(output_dir)
    cfg.merge_from_list(list(opts))
    return cfg


def run(cfg, *, resume=False, interrupt_at=None, fault=(None, -1)):
    """Train in this process.

    Returns:
        The trainer, and the total loss and learning rate of each iteration that was finished.
    """
    torch.manual_seed(0)
    trainer = ToyTrainer(cfg)
    ToyNet.fault = fault
    history = {}

    def record(trainer):
        latest = trainer.storage.latest()
        history[trainer.iter] = (latest["total_loss"][0], latest["lr"][0])
        if trainer.iter == interrupt_at:
            raise KillError

    trainer.register_hooks([CallbackHook(after_step=record)])
    trainer.resume_or_load(resume=resume)
    try:
        trainer.train()
    except KillError:
        pass
    finally:
        ToyNet.fault = (None, -1)
    return trainer, history


def weights(trainer):
    """State of the network without the wrapper for several processes."""
    return {
        name.removeprefix("module."): value.clone()
        for name, value in trainer.model.state_dict().items()
    }


def same(first, second):
    """Whether two states are bitwise equal."""
    return first.keys() == second.keys() and all(
        torch.equal(a, b) for a, b in itertools.zip_longest(first.values(), second.values())
    )
