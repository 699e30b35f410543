"""The package's source code as syntax trees, for tests of its structure."""

import ast
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "mobileinst_d2"


class ConfigRead(NamedTuple):
    """One place that reads the config: the key or section, where, and in which function."""

    key: str
    module: str
    line: int
    function: str


@functools.cache
def package_modules() -> dict[str, Path]:
    """Dotted name and file of every module of the package."""
    modules = {}
    for path in sorted((REPOSITORY / PACKAGE).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


@functools.cache
def syntax_tree(module: str) -> ast.Module:
    """Parsed source of a module of the package."""
    return ast.parse(package_modules()[module].read_text(encoding="utf-8"))


def imported_names(module: str) -> set[str]:
    """Absolute names of all that a module imports; names from modules end at the module.

    ``from torch import nn`` gives ``torch.nn`` as it does ``torch``'s: what follows an import
    from outside the package is kept, as it may be a module or not.
    """
    path = package_modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(syntax_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                inside = base.split(".")[0] == PACKAGE
                names.add(base if inside and name not in package_modules() else name)
    return names


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods outside other functions, with their qualified names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{node.name}", node


def config_reads(module: str) -> list[ConfigRead]:
    """All places in functions of a module that read a key or a section of ``cfg``.

    Local names of sections, as in ``node = cfg.MODEL.MATCHER``, are followed.
    """
    reads = []
    for name, function in functions(syntax_tree(module)):
        sections = {"cfg": ""}
        for _ in range(3):  # a section of a section of a section
            for node in ast.walk(function):
                if isinstance(node, ast.Assign):
                    sections |= _assigned_sections(node, sections)
        inner = {id(x.value) for x in ast.walk(function) if _is_key(x)}
        for node in ast.walk(function):
            if _is_key(node) and id(node) not in inner and isinstance(node.ctx, ast.Load):
                key = _resolve(node, sections)
                if key:
                    reads.append(ConfigRead(key, module, node.lineno, name))
    return reads


def _is_key(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr.isupper()


def _assigned_sections(node: ast.Assign, sections: dict[str, str]) -> dict[str, str]:
    target, value = node.targets[0], node.value
    both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
    pairs = zip(target.elts, value.elts, strict=True) if both else [(target, value)]
    found = {}
    for name, source in pairs:
        key = _resolve(source, sections)
        if isinstance(name, ast.Name) and key:
            found[name.id] = key
    return found


def _resolve(node: ast.AST, sections: dict[str, str]) -> str | None:
    """The dotted key that an expression stands for, or None."""
    if isinstance(node, ast.Name):
        return sections.get(node.id)
    if isinstance(node, ast.Attribute) and node.attr == "cfg":  # self.cfg
        return ""
    if _is_key(node):
        section = _resolve(node.value, sections)
        return None if section is None else f"{section}.{node.attr}".lstrip(".")
    return None
