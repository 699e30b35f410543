"""Measure what live tracking with an exported folder costs before and between its frames.

A fresh process imports what is needed, opens the folder, loads the graph of key frames and tracks a
moving image. Told are the CPU seconds up to each of these and the largest memory, with and without
the masks of one frame. PyTorch is not needed.

Example::

    python benchmarks/streaming.py --model exported/onnx --size 720 1280
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mobileinst_core.command import command

MIB = 2**20
# Packages that take longer to import, or more memory, than live tracking as a whole should.
HEAVY = ("torch", "torchvision", "detectron2", "mobileinst_d2", "matplotlib", "pandas", "onnx")
HEAVY += ("tensorboard", "scipy.optimize", "scipy.stats", "scipy.sparse")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, type=Path, metavar="DIR", help="made by tools/export.py")
    size = {"nargs": 2, "type": int, "metavar": ("H", "W"), "default": (720, 1280)}
    add("--size", **size, help="of the frames, default 720 1280")
    add("--frames", type=int, default=30, metavar="N", help="to track, default 30")
    add("--threshold", type=float, default=0.4, metavar="SCORE", help="to show tracks from")
    add("--repeats", type=int, default=3, metavar="N", help="processes, default 3")
    add("--json", type=Path, metavar="FILE", help="also write the numbers")
    add("--here", action="store_true", help=argparse.SUPPRESS)  # measure in this process
    add("opts", nargs=argparse.REMAINDER, help="overrides: TEST.TRACKING.CLIP_LEN 3 ...")
    return parser.parse_args(argv)


def measure(args: argparse.Namespace) -> dict:
    """Track in this process, which must have imported nothing before.

    Args:
        args: the command line.

    Returns:
        CPU seconds since the start of the process after the imports (``import_seconds``), when
        the first frame can be tracked (``ready_seconds``) and per frame (``frame_seconds``);
        ``peak_bytes`` of memory, ``mask_bytes`` of the frame with the most instances,
        ``instances`` of that frame, and the ``heavy`` packages that were imported.
    """
    import numpy as np

    from mobileinst_core.runtime.model import ExportedModel

    imported = time.process_time()
    model = ExportedModel.load(args.model, opts=args.opts)
    tracker = model.online_tracker(args.threshold)
    _ = model.graphs["keyframe"]
    ready = time.process_time()
    rng = np.random.default_rng(0)
    height, width = args.size
    image = rng.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    image = image.repeat(40, axis=0).repeat(40, axis=1)
    masks, instances = 0, 0
    for number in range(args.frames):
        offset = number % 40
        frame = image[offset : offset + height, offset : offset + width]
        detections = tracker.step(np.ascontiguousarray(frame))
        masks, instances = max(masks, detections.masks.nbytes), max(instances, len(detections))
    return {
        "import_seconds": imported,
        "ready_seconds": ready,
        "frame_seconds": (time.process_time() - ready) / max(args.frames, 1),
        "peak_bytes": _peak_bytes(),
        "mask_bytes": masks,
        "instances": instances,
        "heavy": sorted(set(HEAVY) & sys.modules.keys()),
    }


def _peak_bytes() -> int:
    """Largest memory of this process."""
    try:
        # Not what getrusage gives, which on Linux counts the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except FileNotFoundError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments after the program's name; by default those of the process.

    Returns:
        The exit status: 0, or that of a process that failed.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse_args(argv)
    if args.here:
        json.dump(measure(args), sys.stdout)
        return 0
    from reporting import describe_machine  # what it imports is not to be measured

    runs = []
    for _ in range(args.repeats):
        here = [sys.executable, str(Path(__file__).resolve()), "--here", *argv]
        done = subprocess.run(here, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            return done.returncode
        runs.append(json.loads(done.stdout))
    best = {key: min(run[key] for run in runs) for key in runs[0] if key != "heavy"}
    best["heavy"] = runs[0]["heavy"]
    print(f"Least of {args.repeats} processes; {describe_machine()}\n")
    print(f"imports                 {best['import_seconds']:.2f} s of CPU")
    print(f"ready for a first frame {best['ready_seconds']:.2f} s of CPU")
    print(f"a frame                 {1000 * best['frame_seconds']:.1f} ms of CPU")
    print(f"peak memory             {best['peak_bytes'] / MIB:.0f} MiB")
    print(
        f"of it one frame's masks {best['mask_bytes'] / MIB:.0f} MiB, {best['instances']} objects"
    )
    print(f"heavy packages          {', '.join(best['heavy']) or 'none'}")
    if args.json:
        args.json.write_text(json.dumps({"runs": runs, "best": best}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
