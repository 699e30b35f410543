"""Blocks of code and links of the documents, for tools/check_docs.py."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import yaml

__all__ = ["Block", "blocks_of", "commands_of", "documents", "faults_of_blocks", "faults_of_links"]

# What is run; blocks of the other languages are there to be read.
RUN = ("bash", "python")
READ = ("bibtex", "c", "cpp", "json", "kotlin", "text", "yaml")
_MARKER = re.compile(r"<!-- (not run|needs): (.+) -->")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        file: the document.
        line: number of its first line of code, from 1.
        language: what follows the fence.
        code: its text.
        not_run: why it is not run here, from a comment before it; "" if it is run.
        needs: a package without which it is not run; "" if none.
    """

    file: Path
    line: int
    language: str
    code: str
    not_run: str = ""
    needs: str = ""


def documents(root: Path) -> list[Path]:
    """The Markdown files of a checkout that Git does not ignore, the README first."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    found = sorted(root / name for name in set(names.split("\n")) if name)
    return sorted((x for x in found if x.exists()), key=lambda x: x != root / "README.md")


def blocks_of(file: Path) -> list[Block]:
    """The fenced blocks of a document, in order.

    Args:
        file: a Markdown file.

    Returns:
        The blocks, with the markers ``<!-- not run: why -->`` and ``<!-- needs: package -->`` of
        the line before the fence.
    """
    lines = file.read_text(encoding="utf-8").split("\n")
    fences = [i for i, line in enumerate(lines) if line.lstrip().startswith("```")]
    blocks = []
    for start, end in zip(fences[::2], fences[1::2], strict=True):
        marker = _MARKER.fullmatch(lines[start - 1].strip()) if start else None
        marks = {marker[1].replace(" ", "_"): marker[2]} if marker else {}
        code = "\n".join(lines[start + 1 : end])
        language = lines[start].strip().removeprefix("```")
        blocks.append(Block(file, start + 2, language, code, **marks))
    return blocks


def commands_of(code: str) -> Iterator[str]:
    """The commands of a bash block: lines that a backslash continues are one, comments go."""
    for command in re.sub(r"\s*\\\n\s*", " ", code).split("\n"):
        text = re.sub(r"(^|\s+)#.*$", "", command).strip()
        if text:
            yield text


def faults_of_blocks(block: Block) -> Iterator[str]:
    """What is wrong with a block without running it."""
    if block.language not in (*RUN, *READ):
        known = ", ".join((*RUN, *READ))
        yield f"the language of a block is {block.language!r}, it must be one of {known}"
    if block.language in READ and (block.not_run or block.needs):
        yield f"a block of {block.language} is never run, and needs no marker"
    if block.language == "yaml":
        try:
            yaml.safe_load(block.code)
        except yaml.YAMLError as error:
            yield f"no valid yaml: {error}"
    if block.language == "python":
        try:
            compile(block.code, str(block.file), "exec")
        except SyntaxError as error:
            yield f"no valid Python: {error}"
    if block.language == "bash" and not block.not_run:
        unfinished = [x for x in commands_of(block.code) if re.search(r"(^|\s)(\.\.\.|\[)", x)]
        yield from (f"the command `{x}` cannot be run as it is" for x in unfinished)


def faults_of_links(file: Path, root: Path) -> Iterator[str]:
    """Links of a document to files and headings that do not exist.

    Args:
        file: the document.
        root: the checkout, which links must not leave.

    Yields:
        A sentence per broken link. Addresses of the web are not looked at.
    """
    for number, line in enumerate(_prose(file), 1):
        for target in _LINK.findall(_CODE.sub("", line)):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, anchor = target.partition("#")
            path = (file.parent / unquote(name) if name else file).resolve()
            if not path.exists():
                yield f"{file}:{number}: {target} leads to nothing"
            elif not path.is_relative_to(root.resolve()):
                yield f"{file}:{number}: {target} leads out of the project"
            elif anchor and (path.suffix != ".md" or anchor not in _anchors(path)):
                yield f"{file}:{number}: {path.name} has no heading #{anchor}"


def _prose(file: Path) -> Iterator[str]:
    """The lines of a document, those of fenced blocks empty."""
    fenced = False
    for line in file.read_text(encoding="utf-8").split("\n"):
        fence = line.lstrip().startswith("```")
        yield "" if fence or fenced else line
        fenced ^= fence


def _anchors(file: Path) -> set[str]:
    """Names that code hosts give to the headings of a document."""
    found: set[str] = set()
    for line in _prose(file):
        if heading := re.fullmatch(r"#+ +(.*?)\s*", line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            number = 0
            while (anchor := f"{name}-{number}" if number else name) in found:
                number += 1
            found.add(anchor)
    return found
