"""Check the documents: links, and that every block of code is run or says why not.

From the root of the project::

    python tools/check_docs.py                      # links, markers, syntax; seconds
    python tools/check_docs.py --run                # and run all commands and Python blocks
    python tools/check_docs.py --run README.md docs/recipes.md

Each document is run in a copy of the checkout of its own with tiny data, at the sizes of
`SMALLER`. Python blocks of a document share their variables. What is not run is listed:
blocks after ``<!-- not run: why -->``, those after ``<!-- needs: package -->`` where the package
is missing, and the commands of `SKIPPED`.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from doc_blocks import (
    RUN,
    Block,
    blocks_of,
    commands_of,
    documents,
    faults_of_blocks,
    faults_of_links,
)

from mobileinst_core.command import command

# Sizes for a training or an evaluation of seconds.
_TINY_TEST = "INPUT.MIN_SIZE_TEST 64 INPUT.MAX_SIZE_TEST 96"
_TINY = (
    f"{_TINY_TEST} INPUT.MIN_SIZE_TRAIN '(48,64)' INPUT.MAX_SIZE_TRAIN 96 "
    "DATALOADER.NUM_WORKERS 0 SOLVER.IMS_PER_BATCH 2 SOLVER.MAX_ITER 2 SOLVER.STEPS '()' "
    "SOLVER.WARMUP_ITERS 1"
)
# Pattern, replacement, why: applied to each command in this order.
SMALLER = (
    (r"^python ", f"{sys.executable} -W ignore ", "this Python"),
    (r" --num-gpus 8", "", "one process"),
    (r"(train_net\.py (?!.*--model ).*--eval-only.*)$", rf"\1 {_TINY_TEST}", "small images"),
    (r"(demo/demo\.py .*--opts .*)$", rf"\1 {_TINY_TEST}", "small images"),
    (r"(train_net\.py (?!.*(--eval-only|--resume)).*)$", rf"\1 {_TINY}", "two iterations"),
    (
        r"(finetune\.py .*)$",
        rf"\1 {_TINY} TEST.EVAL_PERIOD 1 MODEL.BACKBONE.WEIGHTS ''",
        "two iterations from random weights, as a download needs a network",
    ),
    (r"(to_ytvis\.py \w+ )", r"\1--overwrite ", "the file is there, for other commands"),
    (r"(tools/export\.py .*)--size \d+ \d+(.*)$", r"\1--size 64 128\2 --overwrite", "small"),
    (r"--num-videos \d+( --num-val-videos \d+)?", "--num-videos 3", "few videos"),
)
# Commands that start so (regular expressions) are not run, and why.
SKIPPED = {
    "pip install ": "changes the environment; continuous integration installs",
    "make ": "continuous integration and `make demo` run it",
    r"python tools/install_detectron2\.py(?! --check)": "changes the environment; see `make setup`",
    r"\.venv/bin/python -m pytest": "continuous integration runs the tests",
    "npm ": "needs Node and a network",
}


def check(files: Sequence[Path], root: Path) -> list[str]:
    """All that is wrong with documents without running them."""
    faults = []
    for file in files:
        faults += faults_of_links(file, root)
        for block in blocks_of(file):
            faults += [f"{file}:{block.line}: {fault}" for fault in faults_of_blocks(block)]
    return faults


def why_not_run(block: Block) -> str:
    """The reason, or "" for a block that is to be run here."""
    if block.not_run:
        return block.not_run
    if block.needs and importlib.util.find_spec(block.needs) is None:
        return f"needs the package {block.needs}"
    return ""


def smaller(text: str) -> str:
    """A command at the sizes of this check; the same where none is meant."""
    for pattern, replacement, _ in SMALLER:
        text = re.sub(pattern, replacement, text)
    return text


def steps_of(file: Path) -> tuple[list[dict[str, str]], list[str]]:
    """What is run of a document, and what is not.

    Args:
        file: the document.

    Returns:
        Steps with "place", "kind" ("bash" or "python") and "code"; and a line for each block or
        command that is left out.
    """
    steps, left_out = [], []
    for block in blocks_of(file):
        place = f"{file}:{block.line}"
        if block.language not in RUN:
            continue
        if reason := why_not_run(block):
            left_out.append(f"{place}: {reason}")
        elif block.language == "python":
            steps.append({"place": place, "kind": "python", "code": block.code})
        else:
            run = []
            for text in commands_of(block.code):
                reason = next((why for start, why in SKIPPED.items() if re.match(start, text)), "")
                if reason:
                    left_out.append(f"{place}: `{text}`: {reason}")
                else:
                    run.append(smaller(text))
            if run:
                steps.append({"place": place, "kind": "bash", "code": "\n".join(run)})
    return steps, left_out


def run_steps(steps: Sequence[dict[str, str]]) -> int:
    """Run the steps of one document in this process and folder; stop at the first failure."""
    names: dict = {"__name__": "__main__"}
    for step in steps:
        print(f"--- {step['place']}\n{step['code']}", flush=True)
        if step["kind"] == "python":
            exec(compile(step["code"], step["place"], "exec"), names)
        else:
            subprocess.run(["bash", "-ec", step["code"]], check=True)
    return 0


def run_document(file: Path, workspace: Path, log: Path) -> tuple[bool, list[str]]:
    """Run a document in a workspace.

    Args:
        file: the document.
        workspace: see `doc_workspace.make_workspace`.
        log: file for its output.

    Returns:
        Whether all of it ran, and what was left out.
    """
    steps, left_out = steps_of(file)
    if not steps:
        return True, left_out
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(workspace),
        "PYTHONWARNINGS": "ignore",
    }
    worker = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    with log.open("w", encoding="utf-8") as output:
        code = subprocess.run(
            worker,
            input=json.dumps(steps),
            text=True,
            cwd=workspace,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    return code == 0, left_out


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="*", help="documents; all by default")
    parser.add_argument("--run", action="store_true", help="run what they have, too")
    parser.add_argument("--logs", type=Path, default=Path("output/check_docs"), metavar="DIR")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        return run_steps(json.load(sys.stdin))
    root = Path.cwd()
    files = args.files or [x.relative_to(root) for x in documents(root)]
    faults = check(files, root)
    for fault in faults:
        print(fault)
    if faults or not args.run:
        print(f"{len(files)} documents, {len(faults)} faults")
        return int(bool(faults))
    return _run(files, root, args.logs)


def _run(files: Sequence[Path], root: Path, logs: Path) -> int:
    from doc_workspace import make_workspace

    logs.mkdir(parents=True, exist_ok=True)
    failed, left_out = [], []
    with tempfile.TemporaryDirectory() as folder:
        first, workspace = Path(folder, "first"), Path(folder, "workspace")
        make_workspace(root, first)
        for file in files:
            start = time.monotonic()
            # What a document changes is none of the next one's business.
            shutil.copytree(first, workspace)
            log = logs / f"{'_'.join(file.with_suffix('').parts)}.log"
            done, missing = run_document(file, workspace, log)
            shutil.rmtree(workspace)
            left_out += missing
            print(
                f"{'ok' if done else 'FAILED'}  {file}  {time.monotonic() - start:.0f} s",
                flush=True,
            )
            if not done:
                failed.append(f"{file}: see {log}")
    if left_out:
        print("\nNot run:", *sorted(left_out), sep="\n  ")
    if failed:
        print("\nFailed:", *failed, sep="\n  ")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
