"""End-to-end demo on generated data: train, evaluate, track. Run by `make demo`.

Every step is a command that a user would type; it is printed before it runs. Run from the root
of the project.
"""

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from tabulate import tabulate

from mobileinst_core.command import command
from mobileinst_core.errors import UserError
from mobileinst_core.video.contact_sheet import contact_sheet, sample_frames
from mobileinst_core.video.images import write_image
from mobileinst_core.video.readers import VideoReader
from mobileinst_core.video.writers import VideoWriter
from mobileinst_core.ytvis.evaluate import evaluate_ytvis
from mobileinst_core.ytvis.moving_shapes import make_moving_shapes

DATA = Path("datasets/moving_shapes")
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10")
FRAME_SIDE = 128
SHOW_SEED = 6
SHOW_FPS = 10
SHOW_FRAMES = 60
# One thread, as the tensors are small: a second one takes the core that reads the data, and a step
# needed 1.0 to 1.6 times as long on two cores.
# Large tensors in huge pages: a step of training on the CPU needs 0.65 to 0.83 of its time with
# them. Read by the C library of Linux (glibc from 2.35), others pass it over.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class Steps:
    """Numbers the steps and says how long they took."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.step = 0
        self.start = time.monotonic()

    def announce(self, what: str) -> None:
        """Print the headline of the next step."""
        self.step += 1
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        print(f"\n=== [{self.step}/{self.num_steps}] {what}  ({minutes}:{seconds:02d} so far)")
        sys.stdout.flush()

    def run(self, *arguments: str) -> None:
        """Run a Python script of the project; stop the demo if it fails."""
        print("$ python " + shlex.join(arguments), flush=True)
        environment = {**ENVIRONMENT, **os.environ}
        code = subprocess.run(
            [sys.executable, "-W", "ignore", *arguments], env=environment, check=False
        ).returncode
        if code:
            raise UserError(f"`{shlex.join(arguments)}` ended with exit code {code}")


def make_show_video(path: Path) -> None:
    """Write a longer unseen video, at twice the size of the training frames."""
    folder = path.parent / "show"
    make_moving_shapes(
        folder,
        num_videos=1,
        num_val_videos=1,
        num_frames=SHOW_FRAMES,
        height=2 * FRAME_SIDE,
        width=2 * FRAME_SIDE,
        seed=SHOW_SEED,
    )
    frames = next((folder / "val" / "JPEGImages").iterdir())
    with VideoReader(frames) as reader:
        size = (reader.width, reader.height)
        with VideoWriter(path, fps=SHOW_FPS, size=size, overwrite=True) as writer:
            for frame in reader:
                writer.write(frame)


def score(results: Path) -> dict[str, float | None]:
    """Metrics of a results file on the unseen videos, in percent."""
    metrics = evaluate_ytvis(DATA / "val" / "instances.json", results).summary
    return {name: None if math.isnan(metrics[name]) else metrics[name] for name in METRICS}


@command
def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/demo"), metavar="DIR")
    parser.add_argument("--seed", type=int, default=1, help="seed of the trainings (default: 1)")
    args = parser.parse_args()
    output = args.output
    output.mkdir(parents=True, exist_ok=True)
    steps = Steps(6)

    steps.announce(f"making the moving-shapes data in {DATA}")
    make_moving_shapes(
        DATA, num_videos=800, num_val_videos=20, height=FRAME_SIDE, width=FRAME_SIDE, seed=0
    )

    steps.announce("training on single frames")
    image_dir, video_dir, reuse_dir = (str(output / x) for x in ("image", "video", "video_T3"))
    seed = ("SEED", str(args.seed))
    config = ("--config-file", "configs/toy/shapes_image.yaml")
    steps.run("train_net.py", *config, *seed, "OUTPUT_DIR", image_dir)

    steps.announce("training on pairs of frames with query passing, evaluation at T = 1")
    config = ("--config-file", "configs/toy/shapes_video.yaml")
    weights = f"{image_dir}/model_final.pth"
    steps.run("train_net.py", *config, *seed, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", video_dir)

    steps.announce("evaluation at T = 3: two of three frames reuse the kernels before them")
    weights = f"{video_dir}/model_final.pth"
    reuse = ("TEST.TRACKING.CLIP_LEN", "3", "OUTPUT_DIR", reuse_dir)
    steps.run("train_net.py", *config, "--eval-only", "MODEL.WEIGHTS", weights, *reuse)

    steps.announce("tracking an unseen video")
    source, tracked = output / "input.mp4", output / "tracked.mp4"
    make_show_video(source)
    steps.run(
        *("demo/demo.py", *config, "--video-input", str(source), "--output", str(tracked)),
        *("--overwrite", "--opts", "MODEL.WEIGHTS", weights),
    )
    frames = sample_frames(tracked, 8)
    sheet = contact_sheet([frames[:4], frames[4:]])
    write_image(output / "contact_sheet.png", sheet, overwrite=True)

    steps.announce("results")
    metrics = {
        "T1": score(Path(video_dir) / "inference" / "results.json"),
        "T3": score(Path(reuse_dir) / "inference" / "results.json"),
    }
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    rows = [
        [name, *("-" if x is None else f"{x:.1f}" for x in values.values())]
        for name, values in metrics.items()
    ]
    print("YouTube-VIS metrics in percent on 20 unseen videos (toy weights, toy data):")
    print(tabulate(rows, headers=["clip length", *METRICS], disable_numparse=True))
    print(f"\nmetrics        {output / 'metrics.json'}")
    print(f"tracked video  {tracked}")
    print(f"contact sheet  {output / 'contact_sheet.png'}")


if __name__ == "__main__":
    sys.exit(main())
