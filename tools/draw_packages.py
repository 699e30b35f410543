"""Draw which part of the two packages imports which, from the source: docs/images/packages.png.

From the root of the project::

    python tools/draw_packages.py --output docs/images/packages.png

An arrow leads from a part to one that it imports; those that follow from others are left out.
What a part of mobileinst_d2 imports of mobileinst_core is written in its box.
"""

import argparse
import ast
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mobileinst_core.command import command, needed_packages

with needed_packages():
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

PACKAGES = ("mobileinst_d2", "mobileinst_core")
# Modules that stand for themselves; other modules beside the folders are small helpers.
MODULES = {
    "mobileinst_d2": ("tracking",),
    "mobileinst_core": ("demo", "postprocessing", "prototype_masks"),
}
TITLES = {
    "mobileinst_d2": "the Detectron2 side",
    "mobileinst_core": "without PyTorch and Detectron2",
}
COLORS = ("#e3eefc", "#e6f5e6")

Imports = dict[str, set[tuple[str, str]]]


class Part(NamedTuple):
    """A folder or module of a package, with what its docstring says first."""

    name: str
    text: str


def parts_of(package: Path) -> list[Part]:
    """The folders of a package with Python files, and the modules of `MODULES`."""
    folders = [path.parent for path in package.glob("*/__init__.py")]
    modules = [package / f"{name}.py" for name in MODULES.get(package.name, ())]
    files = {folder.name: folder / "__init__.py" for folder in folders}
    files |= {path.stem: path for path in modules if path.exists()}
    texts = {name: ast.get_docstring(_parse(path)) or "" for name, path in files.items()}
    return [Part(name, _plain(text.split("\n")[0])) for name, text in sorted(texts.items())]


def _plain(text: str) -> str:
    return re.sub(r":\w+:`([^`]*)`", r"\1", text).rstrip(".")


def imports_of(package: Path, packages: Iterable[str]) -> Imports:
    """What each part of a package imports.

    Args:
        package: its folder.
        packages: names of the packages that count.

    Returns:
        Per part, a folder or a module beside the folders, pairs of a package and its part.
    """
    found: Imports = {}
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        part = relative.parts[0].removesuffix(".py")
        for module in _imported_modules(path, package):
            root, *rest = module.split(".")
            if root in packages and rest and (root, rest[0]) != (package.name, part):
                found.setdefault(part, set()).add((root, rest[0]))
    return found


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported_modules(path: Path, package: Path) -> Iterator[str]:
    """Full names of what a file imports; of `from a import b` it is a.b, whatever b is."""
    folder = path.parent.relative_to(package.parent).parts
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(folder[: len(folder) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def reduce_edges(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Without the edges that follow from others; the graph must have no cycle."""

    def reachable(node: str) -> set[str]:
        return {x for after in edges.get(node, ()) for x in {after} | reachable(after)}

    return {
        node: {x for x in after if not any(x in reachable(y) for y in after - {x})}
        for node, after in edges.items()
    }


def rank_parts(names: Sequence[str], edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Rows from the top down: a part is above all that it imports, as low as it can."""

    def height(name: str) -> int:
        return max((1 + height(x) for x in edges.get(name, ())), default=0)

    heights = {name: height(name) for name in names}
    rows = [[x for x in names if heights[x] == h] for h in range(max(heights.values()), -1, -1)]
    for above, row in itertools.pairwise(rows):

        def place(name: str, above: Sequence[str] = above) -> float:
            places = [i for i, x in enumerate(above) if name in edges.get(x, ())]
            return sum(places) / len(places) if places else len(above) / 2

        row.sort(key=place)
    return rows


def draw(root: Path) -> Figure:
    """The image of the packages in a folder."""
    panels = [(name, *_panel(root / name)) for name in PACKAGES]
    widths = [max(len(row) for row in rows) for _, rows, _, _ in panels]
    tallest = max(len(rows) for _, rows, _, _ in panels)
    figure = Figure(figsize=(2.2 * sum(widths) + 0.6, 1.35 * tallest + 0.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.1, sum(widths) + 0.2), ylim=(-tallest, 0.45))
    axes.axis("off")
    left = 0.0
    for (package, rows, boxes, edges), width, color in zip(panels, widths, COLORS, strict=True):
        axes.text(left + 0.05, 0.3, package, size=15, weight="bold")
        axes.text(left + 0.05, 0.14, TITLES[package], size=9)
        corners = {
            name: (left + (width - len(row)) / 2 + place + 0.05, -number - 0.68)
            for number, row in enumerate(rows)
            for place, name in enumerate(row)
        }
        for name, (title, text, note) in boxes.items():
            x, y = corners[name]
            axes.add_patch(
                FancyBboxPatch(
                    (x, y), 0.9, 0.6, "round,pad=0,rounding_size=0.03", fc=color, ec="0.4"
                )
            )
            axes.text(x + 0.04, y + 0.46, title, size=11, weight="bold")
            axes.text(x + 0.04, y + 0.4, text, size=7.5, va="top")
            axes.text(x + 0.04, y + 0.04, note, size=7, color="0.45")
        for name, after in edges.items():
            for other in sorted(after):
                (x, y), (x2, y2) = corners[name], corners[other]
                style = {"arrowstyle": "-|>", "color": "0.5", "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", (x2 + 0.45, y2 + 0.6), (x + 0.45, y), arrowprops=style, zorder=0)
        left += width + 0.1
    return figure


def _panel(
    package: Path,
) -> tuple[list[list[str]], dict[str, tuple[str, str, str]], dict[str, set[str]]]:
    """Rows of parts, their texts, and the arrows between them."""
    parts = {part.name: part for part in parts_of(package)}
    found = imports_of(package, PACKAGES)
    edges = reduce_edges(
        {
            name: {x for p, x in found.get(name, ()) if p == package.name and x in parts}
            for name in parts
        }
    )
    boxes = {}
    for name, part in parts.items():
        others = {x for p, x in found.get(name, ()) if p != package.name}
        shown = sorted(x for x in others if (package.parent / PACKAGES[1] / x).is_dir())
        note = f"core: {', '.join(shown)}" if shown else ""
        boxes[name] = (name, "\n".join(textwrap.wrap(part.text, 34)[:3]), note)
    return rank_parts(list(parts), edges), boxes, edges


@command
def main() -> None:
    """Write the image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path("."), help="folder of the packages")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    draw(args.root).savefig(args.output, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
