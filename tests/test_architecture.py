"""Who may know whom, and other rules that hold for all of the source code."""

import ast
import re
import sys
from pathlib import Path

import pytest
from source_tree import (
    PACKAGE,
    REPOSITORY,
    config_reads,
    functions,
    imported_names,
    package_modules,
    syntax_tree,
)

# What each part of the package may import of the package, by the longest prefix that fits.
KNOWS = {
    "": {"data", "modeling", "config"},
    "config": {"utils"},
    "utils": {"utils"},
    "data": {"data", "utils"},
    "evaluation": {"evaluation", "utils"},
    "modeling": {"modeling"},
    "modeling.options": set(),
    "modeling.layers": {"modeling.layers"},
    "modeling.losses": set(),
    "modeling.targets": {"modeling.layers"},
    "modeling.deploy": {"modeling.layers"},
    "modeling.matcher": {"modeling.losses", "modeling.targets"},
    "modeling.postprocessing": {"structures"},
    "structures": set(),
    "modeling.criterion": {
        "modeling.losses",
        "modeling.matcher",
        "modeling.targets",
        "modeling.options",
    },
    "modeling.backbone": {"modeling.backbone", "modeling.layers", "modeling.options"},
    "modeling.mask_decoder": {"modeling.mask_decoder", "modeling.layers", "modeling.options"},
    # An instance decoder reads what a mask decoder returns.
    "modeling.instance_decoder": {
        "modeling.instance_decoder",
        "modeling.mask_decoder",
        "modeling.layers",
        "modeling.options",
    },
    "modeling.meta_arch": {"modeling"},
    "tracking": {"modeling.postprocessing", "structures", "utils.evaluation_resizing"},
    # These two know meta-architectures by their contract.
    "benchmark": {
        "benchmark",
        "export",
        "tracking",
        "utils",
        "modeling.postprocessing",
        "structures",
    },
    "export": {
        "export",
        "tracking",
        "utils",
        "modeling.postprocessing",
        "modeling.options",
        "structures",
    },
    # On top of everything.
    "engine": {""},
}

STANDARD = set(sys.stdlib_module_names)
# What some parts may import from outside, and what others may not.
ONLY = {
    "modeling.layers": {"torch", "fvcore", "detectron2.layers"},
    "modeling.options": {"mobileinst_core"},
    "modeling.losses": {"torch", "fvcore"},
    "modeling.targets": {"torch", "detectron2.structures"},
    "structures": {"torch", "numpy", "detectron2.structures", "mobileinst_core"},
}
NEVER = {
    "data": {"detectron2.modeling", "torch.nn"},
    "evaluation": {"detectron2.modeling", "torch.nn"},
    "utils": {"detectron2.modeling", "torch.nn"},
}

# Parts of which only `from_config` and the builders of registries read the config.
CONFIGURABLE = ("modeling", "tracking", "evaluation", "benchmark", "export")
# Detectron2 hands this class the config.
CONFIG_CLASSES = ("mobileinst_d2.engine.trainer:Trainer",)

MODULES = sorted(package_modules())
SCRIPTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (
        *REPOSITORY.glob("*.py"),
        *REPOSITORY.glob("tools/*.py"),
        *REPOSITORY.glob("demo/*.py"),
        *package_modules().values(),
    )
)


def inside(name: str, prefixes: set[str]) -> bool:
    return any(not p or name == p or name.startswith(f"{p}.") for p in prefixes)


def room_of(module: str, rooms: dict) -> str | None:
    """The most special entry of a table that a module belongs to."""
    name = module.removeprefix(PACKAGE).lstrip(".")
    fitting = [room for room in rooms if name == room or (room and name.startswith(f"{room}."))]
    return max(fitting, key=len, default=None)


@pytest.mark.parametrize("module", MODULES)
def test_rooms_know_only_those_they_may(module):
    room = room_of(module, KNOWS)
    assert room is not None, f"{module} belongs to no room of the table"
    found = {
        name.removeprefix(PACKAGE).lstrip(".")
        for name in imported_names(module)
        if inside(name, {PACKAGE})
    }
    # The package itself gives the config function only.
    found.discard("")
    assert {name for name in found if not inside(name, KNOWS[room])} == set()


@pytest.mark.parametrize("module", MODULES)
def test_rooms_use_only_the_libraries_they_may(module):
    outside = {n for n in imported_names(module) if not inside(n, {PACKAGE} | STANDARD)}
    if (room := room_of(module, ONLY)) is not None:
        assert {name for name in outside if not inside(name, ONLY[room])} == set()
    if (room := room_of(module, NEVER)) is not None:
        assert {name for name in outside if inside(name, NEVER[room])} == set()


def test_the_graph_of_imports_is_seen():
    # Guards the two tests above against a parser that finds nothing.
    names = imported_names("mobileinst_d2.modeling.meta_arch.mobileinst")
    assert {"mobileinst_d2.modeling.criterion", "mobileinst_d2.modeling.postprocessing"} <= names
    assert "mobileinst_d2.structures" in imported_names("mobileinst_d2.tracking")


@pytest.mark.parametrize("module", MODULES)
def test_methods_read_the_config_in_from_config_only(module):
    room = room_of(module, dict.fromkeys(CONFIGURABLE))
    for read in config_reads(module):
        where = f"{read.key} is read in {module}:{read.line}, {read.function}"
        class_name, _, name = read.function.rpartition(".")
        if f"{module}:{class_name}" in CONFIG_CLASSES:
            continue
        if class_name:
            assert name == "from_config", where
        elif room is not None:
            assert name.startswith("build_"), where


def parse(script: str) -> ast.Module:
    return ast.parse((REPOSITORY / script).read_text(encoding="utf-8"))


def body_length(function: ast.FunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_files_and_functions_are_short(script):
    lines = (REPOSITORY / script).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400
    lengths = {name: body_length(function) for name, function in functions(parse(script))}
    assert {name: length for name, length in lengths.items() if length > 60} == {}


@pytest.mark.parametrize("module", MODULES)
def test_the_package_logs_and_does_not_print(module):
    calls = [node.func for node in ast.walk(syntax_tree(module)) if isinstance(node, ast.Call)]
    assert not [c.lineno for c in calls if isinstance(c, ast.Name) and c.id == "print"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_exceptions_are_caught_by_name(script):
    handlers = [n for n in ast.walk(parse(script)) if isinstance(n, ast.ExceptHandler)]
    assert not [handler.lineno for handler in handlers if handler.type is None]


def text_files() -> list[Path]:
    """Sources, configs and documents; not this file, which spells out what it looks for."""
    patterns = ("*.py", "*.md", "*.toml", "*.txt", "Makefile", "*.cfg")
    folders = (PACKAGE, "configs", "tools", "demo", "docs", "datasets", "tests")
    files = [path for pattern in patterns for path in REPOSITORY.glob(pattern)]
    for folder in folders:
        for suffix in ("py", "yaml", "md", "sh"):
            files += (REPOSITORY / folder).rglob(f"*.{suffix}")
    return sorted(path for path in files if path != Path(__file__).resolve())


MACHINE_PATH = re.compile(r"(?<![\w.~\-/])/(?:home|root|Users|mnt|media|work|data\d*|opt|srv)/\w")


def test_no_file_names_a_path_of_a_machine():
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_machine_paths_are_recognised():
    # "|" stands for "/", so that no such path is in this file.
    for text in ('open("|home|me|x.json")', "ROOT: |mnt|coco", "|Users|me|data"):
        assert MACHINE_PATH.search(text.replace("|", "/"))
    for text in ("output|home|x", "~|work|x", "|usr|bin|env", "https:||x.org|data|y", "a|data|b"):
        assert not MACHINE_PATH.search(text.replace("|", "/"))
