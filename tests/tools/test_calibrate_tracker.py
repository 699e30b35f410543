import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import calibrate_tracker
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from pycocotools import mask as mask_util
from torch import nn

from mobileinst_d2.data.datasets.synthetic import make_moving_shapes
from mobileinst_d2.engine import setup_cfg
from mobileinst_d2.utils.files import read_json, write_json
from mobileinst_d2.utils.image_io import read_frame

SIZE = 64
NUM_FRAMES = 7
NUM_QUERIES = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = make_moving_shapes(
        tmp_path_factory.mktemp("shapes"),
        num_videos=3,
        num_val_videos=1,
        num_frames=NUM_FRAMES,
        height=SIZE,
        width=SIZE,
    )
    annotations = folder / "train" / "instances.json"
    content = read_json(annotations)
    videos = [track["video_id"] for track in content["annotations"]]
    assert len(set(videos)) < len(videos)
    for video in set(videos):  # the first track of each leaves for a moment
        track = content["annotations"][videos.index(video)]
        for values in (track["segmentations"], track["bboxes"], track["areas"]):
            values[3] = None
    write_json(annotations, content)
    return folder


@pytest.fixture
def config(data, tmp_path, repository) -> Path:
    """The config of a small model, with videos, images and videos without ground truth."""
    split = data / "train"
    content = read_json(split / "instances.json")
    write_json(tmp_path / "no_truth.json", {**content, "annotations": None})
    entry = "    - {{NAME: {}, FORMAT: {}, JSON: {}, IMAGE_ROOT: {}}}\n"
    path = tmp_path / "config.yaml"
    path.write_text(
        f"_BASE_: {repository / 'configs' / 'toy' / 'base.yaml'}\n"
        "DATASETS:\n  CUSTOM:\n"
        + "".join(
            # The name of the folder, as a name is registered once in a process.
            entry.format(f"{tmp_path.name}_{name}", kind, file, split / "JPEGImages")
            for name, kind, file in (
                ("videos", "ytvis", split / "instances.json"),
                ("images", "coco", split / "coco.json"),
                ("blind", "ytvis", tmp_path / "no_truth.json"),
            )
        )
        + f"  TRAIN: ('{tmp_path.name}_videos',)\n"
        f"INPUT: {{MIN_SIZE_TEST: {SIZE}}}\n"
        "MODEL: {DEVICE: cpu, WEIGHTS: oracle.pth}\n"
        "TEST: {TRACKING: {CHUNK: 3}}\n",
        encoding="utf-8",
    )
    return path


class Oracle(nn.Module):
    """Shows the objects of the annotations, each by another query in every frame."""

    def __init__(self, annotations: Path) -> None:
        super().__init__()
        content = read_json(annotations)
        self.tracks = [
            [track for track in content["annotations"] if track["video_id"] == video["id"]]
            for video in content["videos"]
        ]
        self.next_frame = 0
        # Video and track of every appearance.
        self.shown: list[tuple[int, int]] = []

    def preprocess(self, inputs: list[dict]) -> ImageList:
        assert {x["image"].shape for x in inputs} == {(3, SIZE, SIZE)}
        return ImageList(torch.zeros(len(inputs), 3, SIZE, SIZE), [(SIZE, SIZE)] * len(inputs))

    def raw_outputs(self, images: ImageList) -> dict[str, torch.Tensor]:
        frames = [self.predict_next() for _ in images.tensor]
        return {name: torch.stack([frame[name] for frame in frames]) for name in frames[0]}

    def predict_next(self) -> dict[str, torch.Tensor]:
        video, number = divmod(self.next_frame, NUM_FRAMES)
        self.next_frame += 1
        logits = torch.full((NUM_QUERIES, 4), -8.0)
        masks = torch.full((NUM_QUERIES, SIZE // 4, SIZE // 4), -8.0)
        embeddings = torch.eye(2 * NUM_QUERIES)[NUM_QUERIES:]
        for row, track in enumerate(self.tracks[video]):
            query = (row + number) % NUM_QUERIES
            embeddings[query] = torch.eye(2 * NUM_QUERIES)[row]
            if track["segmentations"][number] is not None:
                mask = torch.from_numpy(mask_util.decode(track["segmentations"][number])).float()
                small = nn.functional.interpolate(mask[None, None], scale_factor=0.25, mode="area")
                masks[query] = torch.where(small[0, 0] > 0.5, 8.0, -8.0)
                logits[query, track["category_id"] - 1] = 8.0
                self.shown.append((video, row))
        return {
            "class_logits": logits,
            "objectness_logits": logits.amax(dim=1),
            "mask_logits": masks,
            "kernels": embeddings,
            "queries": torch.ones_like(embeddings),  # these say nothing
        }


@pytest.fixture
def oracle(data, monkeypatch) -> Oracle:
    """Takes the place of the network."""
    network = Oracle(data / "train" / "instances.json")
    predictor = SimpleNamespace(model=network)
    monkeypatch.setattr(calibrate_tracker, "load_predictor", lambda cfg: predictor)
    return network


def test_objects_are_found_and_followed(config, oracle, tmp_path, capsys):
    out, plot = tmp_path / "new" / "numbers.json", tmp_path / "cosines.png"
    files = ("--json", str(out), "--plot", str(plot))
    small = ("--clip-len", "1,2", "--ema-momentum", "0.5", "--bank-size", "2", "--iou", "0.3")
    calibrate_tracker.main(
        ["--config-file", str(config), *small, "--update-threshold", "0.3", *files]
    )

    content = read_json(out)
    appearances = Counter(oracle.shown)
    assert len(appearances) > 3
    rows = content["identities"]
    grid = [(f, m) for f in ("kernel", "query") for m in ("prev", "ema", "bank")]
    assert [(r["T"], r["feature"], r["mode"]) for r in rows] == [
        (t, f, m) for t in (1, 2) for f, m in [(None, "none"), *grid]
    ]
    # Each object is shown by another query in every frame.
    none = rows.pop(0)
    assert none["switches"] == none["of"] > 0
    for row in rows[:3]:
        assert row["of"] == sum(appearances.values()) - len(appearances)
        assert (row["switches"], row["accuracy"]) == (0, 1.0)
    assert rows[3]["switches"] > 0

    same, gaps, different = content["cosines"][:3]
    assert [same["object"], gaps["object"], different["object"]] == [
        *("same", "same after gap", "different")
    ]
    assert same["pairs"] + gaps["pairs"] == rows[0]["of"]
    assert (same["5%"], different["95%"], same["separation"]) == pytest.approx((1.0, 0.0, 1.0))

    assert [row["T"] for row in content["suggestions"]] == [1, 2]
    assert content["suggestions"][0]["config"] == {
        "TEST.TRACKING.CLIP_LEN": 1,
        "TEST.TRACKING.ASSOCIATION_FEATURE": "kernel",
        "TEST.TRACKING.MODE": "prev",
    }
    text = capsys.readouterr().out
    assert "Identity switches in 3 videos" in text
    assert "TEST.TRACKING.ASSOCIATION_FEATURE kernel TEST.TRACKING.MODE prev" in text
    assert min(read_frame(plot).shape[:2]) > 100


@pytest.mark.parametrize(
    ("better", "p_value", "said"),
    [
        (False, 1.0, r"best of the grid\.$"),
        (True, 0.2, r"The best, MODE ema, is not better beyond chance \(.* p = 0\.2\)\.$"),
        (True, 0.01, r"It is the best \(.* p = 0\.01\)\. Measure it again on other videos\.$"),
    ],
)
def test_a_suggestion_says_how_sure_it_is(better, p_value, said):
    paper, best = {"MODE": "prev"}, {"MODE": "ema" if better else "prev"}
    chosen = best if p_value < 0.05 else paper
    text = calibrate_tracker.describe(
        {
            "T": 3,
            "config": chosen,
            "best": best,
            "best_switches": 4 if better else 9,
            "paper_switches": 9,
            "unassociated_switches": 12,
            "p_value": p_value,
        }
    )
    assert text.startswith(
        f"Suggested for T = 3:\n  MODE {chosen['MODE']}\n  Identity switches: 12"
    )
    assert re.search(said, text)


def test_a_real_network_can_be_calibrated(config, data, tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "model.pth"
    cfg = setup_cfg(config)
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    calibrate_tracker.main(
        ["--config-file", str(config), "--iou", "0", "--max-videos", "2", "--clip-len", "3"]
        + ["MODEL.WEIGHTS", str(weights)]
    )
    text = capsys.readouterr().out
    assert "Identity switches in 2 videos" in text
    assert "Suggested for T = 3" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL.WEIGHTS", ""], "MODEL.WEIGHTS is empty"),
        (["MODEL.WEIGHTS", "none.pth"], "'none.pth' does not exist"),
        (["--dataset", "nowhere"], "no data set 'nowhere'"),
        (["--dataset", "{images}"], "has no videos"),
        (["--dataset", "{blind}"], "has no ground truth"),
        (["--clip-len", "0"], "CLIP_LEN is 0"),
        (["--ema-momentum", "0"], r"EMA_MOMENTUM is 0\.0"),
        (["--iou", "1.5"], "--iou is 1.5"),
        (["--plot", "cosines.txt"], "--plot cosines.txt"),
        (["--max-videos", "0"], "--max-videos is 0"),
        (["MODEL.NUM_CLASSES", "5"], "MODEL.NUM_CLASSES is 5"),
        (["TEST.TRACKING.CHUNK", "0"], "CHUNK must be at least 1"),
        (["MODEL.NO_SUCH_KEY", "5"], "MODEL.NO_SUCH_KEY"),
    ],
)
def test_what_cannot_be_calibrated_is_said(config, tmp_path, arguments, message):
    names = {name: f"{tmp_path.name}_{name}" for name in ("images", "blind")}
    with pytest.raises(SystemExit, match=message):
        calibrate_tracker.main(
            ["--config-file", str(config), *(x.format(**names) for x in arguments)]
        )


def test_numbers_of_another_form_are_refused(config, capsys):
    with pytest.raises(SystemExit):
        calibrate_tracker.main(["--config-file", str(config), "--clip-len", "1;3"])
    assert "'1;3' should be like 1,3,6" in capsys.readouterr().err


def test_a_network_that_shows_nothing_is_said_to(config, oracle):
    oracle.predict_next = lambda: {
        "class_logits": torch.zeros(NUM_QUERIES, 4),
        "objectness_logits": torch.zeros(NUM_QUERIES),
        "mask_logits": torch.full((NUM_QUERIES, SIZE // 4, SIZE // 4), -8.0),
        "kernels": torch.ones(NUM_QUERIES, 8),
        "queries": torch.ones(NUM_QUERIES, 8),
    }
    with pytest.raises(SystemExit, match=r"no object is shown twice at IoU 0\.5"):
        calibrate_tracker.main(["--config-file", str(config)])
