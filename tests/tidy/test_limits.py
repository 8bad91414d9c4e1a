"""House limits: module 600 lines, function 70, class 20 methods, line 100; lazy imports are listed."""

from __future__ import annotations

import ast

import pytest

from tests.tidy.sources import modules

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
CLASS_METHODS_MAX = 20
LINE_COLUMNS_MAX = 100

LAZY_PACKAGES = {
    "click",
    "hdrh",
    "numpy",
    "prompt_toolkit",
    "pyarrow",
    "pygments",
    "pyparsing",
    "rich",
    "sqlglot",
    "wcwidth",
}
"""Third-party packages that may be imported inside a function, because start-up must stay short."""

LAZY_STANDARD = {
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "gzip",
    "hashlib",
    "json",
    "platform",
    "pydoc",
    "shutil",
    "sqlite3",
    "subprocess",
    "tempfile",
    "traceback",
    "uuid",
    "zipfile",
    "zoneinfo",
}
"""Standard modules worth 1 to 20 ms at start-up that only some commands need."""


@pytest.mark.parametrize("path", sorted(modules()))
def test_module_keeps_the_limits(path: str) -> None:
    text, tree = modules()[path]
    lines = text.splitlines()
    assert len(lines) <= MODULE_LINES_MAX, f"{path}: {len(lines)} lines"
    wide = [i for i, line in enumerate(lines, 1) if len(line) > LINE_COLUMNS_MAX]
    assert not wide, f"{path}: lines over {LINE_COLUMNS_MAX} columns: {wide}"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= FUNCTION_LINES_MAX, f"{path}:{node.lineno}: {node.name} has {size} lines"
        elif isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            assert len(methods) <= CLASS_METHODS_MAX, (
                f"{path}:{node.lineno}: {node.name} has {len(methods)} methods"
            )


@pytest.mark.parametrize("path", sorted(modules()))
def test_module_says_what_it_is(path: str) -> None:
    text, tree = modules()[path]
    assert ast.get_docstring(tree), f"{path} has no docstring"
    if path.startswith(("engine/", "mantisdb/")):
        assert "TODO" not in text and "FIXME" not in text, f"{path}: unfinished work"


def _lazy_imports(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, top package or own module) of every import inside a function."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.append((node.lineno, node.module))
    return found


LAZY_OWN = (
    "mantis_cli.",  # command modules and what only they need
    "tools.",  # libraries of single commands
    "engine.sql.grammar.",  # statements that need pyparsing
    "engine.sql.executor.vector",  # needs pyarrow
    "engine.storage.merge_arrow",  # needs pyarrow
    "mantisdb",  # from a command
)


@pytest.mark.parametrize("path", sorted(modules()))
def test_imports_inside_functions_are_the_listed_ones(path: str) -> None:
    _, tree = modules()[path]
    for line, name in _lazy_imports(tree):
        top = name.split(".")[0]
        allowed = (
            top in LAZY_PACKAGES or top in LAZY_STANDARD or name.startswith(LAZY_OWN)
        ) or path.startswith("mantis_cli/")
        assert allowed, f"{path}:{line}: import of {name} inside a function"


@pytest.mark.parametrize("path", [p for p in sorted(modules()) if p.startswith("engine/")])
def test_only_vfs_touches_the_system(path: str) -> None:
    if path.startswith("engine/vfs"):
        return
    _, tree = modules()[path]
    forbidden = {"open", "read", "write", "pwrite", "pread", "fsync", "fdatasync", "unlink"}
    forbidden |= {"rename", "replace", "listdir", "scandir", "ftruncate", "stat", "remove"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id == "open":
                raise AssertionError(f"{path}:{node.lineno}: open() outside engine/vfs*.py")
            if (
                isinstance(function, ast.Attribute)
                and isinstance(function.value, ast.Name)
                and function.value.id == "os"
                and function.attr in forbidden
            ):
                raise AssertionError(f"{path}:{node.lineno}: os.{function.attr}()")
