"""The toy network learns classes within its first minutes, not only that there are objects."""

import statistics

import pytest

from mobileinst_core.ytvis.moving_shapes import make_moving_shapes
from mobileinst_d2.engine import Trainer, setup_cfg

ITERATIONS = 150


@pytest.fixture
def config(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"num_videos": 40, "num_val_videos": 1, "height": 128, "width": 128}
    make_moving_shapes("datasets/moving_shapes", **sizes)
    options = {
        "MODEL.DEVICE": "cpu",
        # The paper's: with the toy configs' 0.8 there is hardly a plateau to leave.
        "MODEL.MOBILEINST.LOSS.MATCHER_CLASS_POWER": "0.2",
        "DATASETS.TEST": "()",
        "DATALOADER.NUM_WORKERS": "0",
        "SOLVER.IMS_PER_BATCH": "4",
        "SOLVER.MAX_ITER": str(ITERATIONS),
        "OUTPUT_DIR": str(tmp_path / "output"),
    }
    file = repository / "configs" / "toy" / "shapes_image.yaml"
    return setup_cfg(file, [part for item in options.items() for part in item])


@pytest.mark.usefixtures("one_thread")
def test_the_class_loss_leaves_the_plateau_of_knowing_their_frequencies(config, tmp_path):
    (tmp_path / "output").mkdir()
    trainer = Trainer(config)
    trainer.train()
    losses = trainer.storage.history("loss_cls").values()
    assert statistics.median(value for value, _ in losses[-20:]) < 0.45
