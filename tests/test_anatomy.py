"""The rules of DESIGN that a machine can check without executing a page."""

import ast
import importlib
import inspect
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import nbformat
import pytest

from tests import anatomy
from tools import notebooks

ROOT = Path(__file__).resolve().parent.parent
PAGES = notebooks.all_pages()
MODULES = sorted(p.stem for p in (ROOT / "lib").glob("[a-z]*.py"))


def test_there_are_pages():
    assert PAGES, "no page was found, so nothing would be tested"


@pytest.mark.parametrize("page", PAGES)
def test_page_keeps_the_rules(page):
    faults = anatomy.problems(PAGES[page])
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("page", PAGES)
def test_page_is_normalized(page):
    text = PAGES[page].read_text(encoding="utf-8")
    normal = notebooks.normalize(nbformat.reads(text, as_version=4))
    assert notebooks.to_text(normal) == text, f"make refresh ONLY={page}"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_style(command):
    """Ruff's rules, for the pages too: unused names, encodings, width."""
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_toc_is_complete():
    faults = anatomy.toc_problems(ROOT)
    assert not faults, "\n".join(faults)


def code_lines(source):
    """Lines of code: neither blank, nor comment, nor docstring."""
    kinds = "COMMENT NL NEWLINE INDENT DEDENT ENDMARKER".split()
    ignored = {getattr(tokenize, kind) for kind in kinds}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in ignored:
            lines.update(range(token.start[0], token.end[0] + 1))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, documented)
            and ast.get_docstring(node) is not None
        ):
            text = node.body[0]
            lines.difference_update(range(text.lineno, text.end_lineno + 1))
    return len(lines)


def test_lib_is_thin():
    """Docstrings do not count: the rule shall not punish what it wants."""
    texts = {m: (ROOT / "lib" / f"{m}.py").read_text("utf-8") for m in MODULES}
    long = {m: len(text.splitlines()) for m, text in texts.items()}
    long = {m: lines for m, lines in long.items() if lines > 330}
    assert not long, f"not read in five minutes: lines of {long}"
    code = {m: code_lines(text) for m, text in texts.items()}
    assert sum(code.values()) <= 1200, f"lib has {code} lines of code"
    names = [f"{m}.{name}" for m in MODULES for name in public_names(m)]
    assert len(names) <= 45, f"lib has {len(names)} public names: {names}"


def test_code_lines_are_neither_blank_nor_comment_nor_docstring():
    source = '''"""A module

    in three lines."""
import os  # counts


# no
def f(
    x,
):
    """No."""
    "not a docstring: counts"
    # no
    text = """counts
    twice"""

    class C:
        """No

        code."""

        y = (1 +
             # no
             2)
    return x
'''
    assert code_lines(source) == 1 + 3 + 1 + 2 + 1 + 2 + 1


def public_names(module):
    """Functions, classes and constants that a module defines itself."""
    tree = ast.parse((ROOT / "lib" / f"{module}.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_documented_and_typed(module):
    loaded = importlib.import_module(f"lib.{module}")
    assert loaded.__doc__
    for name in public_names(module):
        value = getattr(loaded, name)
        if not inspect.isfunction(value):
            continue
        assert value.__doc__, f"lib.{module}.{name} has no docstring"
        function = inspect.unwrap(value)
        missing = set(inspect.signature(function).parameters) - set(
            function.__annotations__
        )
        assert not missing, f"lib.{module}.{name}: no type for {missing}"
        assert "return" in function.__annotations__, f"{module}.{name}"


def test_importing_lib_changes_nothing():
    """No work at import time: no statement but definitions and constants."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    for module in MODULES:
        tree = ast.parse((ROOT / "lib" / f"{module}.py").read_text("utf-8"))
        for node in tree.body:
            constant = isinstance(node, ast.Expr) and isinstance(
                node.value, ast.Constant
            )
            main = isinstance(node, ast.If) and "__main__" in ast.dump(node)
            assigned = isinstance(node, (ast.Assign, ast.AnnAssign))
            assert constant or main or assigned or isinstance(node, allowed), (
                f"lib/{module}.py line {node.lineno} works at import time"
            )
