"""The rules of a page that a machine can check, without executing it.

`problems(path)` names the page and the cell of each fault. Cells are counted
from 0 and markdown counts, as in Jupyter's file; the tests that execute
pages count as nbval does, code cells only.
"""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import nbformat
import yaml

# Why an output may differ between machines, and what a cell with that reason
# must contain; an output without a reason is compared.
VARIES = {
    "varies-timing": r"time|speed|seconds|ratio",
    "varies-address": r"\bid\(|data_ptr|storage|memory",
    "varies-hardware": r"device|cpu|cuda|cores|hardware",
    # Last digits of a long computation.
    "varies-training": r"backward|fit\(|linalg|\binv|solve|qr|svd|worst",
}
TAGS = {"parameters", *VARIES}
PARAMETERS = 'device = "auto"\nscale = "small"\nseed = 0'
SECTIONS = ["Break it", "Summary", "Exercises", "Further reading"]
LONGEST_CELL = 25
WIDEST_LINE = 79
BODY_CELLS = (25, 50)
EXERCISES = (3, 5)
COST = re.compile(
    r"\*\*Cost\*\* at most (\d+) seconds and (\d+\.\d) GB of memory"
)
WORKERS = r"\bnum_workers\b"
ABOUT_WORKERS = {"02_linear_regression/with_torch"}
FORBIDDEN = {
    r"\.cuda\(": "use the device that run.setup returns",
    WORKERS: "only the page about loading data may use it",
    r"torch\.load\((?!.*weights_only=True)": "give weights_only=True",
    r"plt\.show\(": "a figure shows itself at the end of its cell",
    r";\s*$": "assign the value instead of hiding it by a semicolon",
    r"^\s*[%!]": "no magics: the page must also run as plain Python",
    r"\btqdm\b": "a progress bar leaves noise in the stored page",
    r"nbval|NBVAL|PYTEST_VALIDATE": "no comment may switch the test off",
}
MOST_FIGURE_BYTES = 200_000
MOST_SECONDS = 60
MOST_GIGABYTES = 2.0


def varies(cell):
    """Whether a cell is tagged as printing what no two machines share."""
    return bool(VARIES.keys() & set(cell.metadata.get("tags", [])))


def cost(notebook):
    """The seconds and the gigabytes a page states, or None."""
    found = COST.search(notebook.cells[0].source) if notebook.cells else None
    return (int(found[1]), float(found[2])) if found else None


def over_budget(page, result, stated, runs=1):
    """What a page used beyond the cost it states or may have, in words.

    Args:
        result: a tools.notebooks.Result.
        stated: its seconds and gigabytes, as `cost` returns them.
        runs: how often the page was executed in that time.
    """
    seconds = min(stated[0], MOST_SECONDS)
    gigabytes = min(stated[1], MOST_GIGABYTES)
    busy, used = result.busy_seconds / runs, result.peak_megabytes / 1000
    faults = []
    if busy > seconds:
        faults.append(f"{page}: busy for {busy:.1f} s; it may be {seconds}")
    if used > gigabytes:
        faults.append(f"{page}: used {used:.2f} GB; it may use {gigabytes}")
    return faults


def problems(path):
    """Every fault of the page at path, a line each."""
    path = Path(path)
    notebook = nbformat.read(path, as_version=4)
    name = f"{path.parent.name}/{path.stem}"
    faults = []

    def fault(index, message):
        place = name if index is None else f"{name} cell {index}"
        faults.append(f"{place}: {message}")

    _check_opening(notebook, fault)
    _check_shape(notebook, fault)
    _check_exercises(notebook, fault)
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            _check_markdown(index, cell, fault)
        else:
            allowed = {WORKERS} if name in ABOUT_WORKERS else set()
            _check_code(index, cell, notebook.cells, fault, allowed)
    return faults


def _check_opening(notebook, fault):
    first = notebook.cells[0].source
    if not first.startswith("# "):
        fault(0, "the page must begin with its title, '# ...'")
    for words in ("**The question.**", "**You will be able to**"):
        if words not in first:
            fault(0, f"the first cell lacks {words}")
    if "**You need**" not in first:
        fault(0, "the first cell lacks **You need**: what comes first")
    goals = re.findall(r"^(?:[-*]|\d\.) ", first, re.MULTILINE)
    if len(goals) != 3:
        fault(0, f"three things to be able to do, not {len(goals)}")
    if cost(notebook) is None:
        fault(
            0,
            "the first cell must say '**Cost** at most N seconds and "
            "N.N GB of memory'",
        )
    tagged = [
        i
        for i, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    if len(tagged) != 1:
        fault(None, f"exactly one parameters cell, not {len(tagged)}")
    elif notebook.cells[tagged[0]].source.strip() != PARAMETERS:
        fault(tagged[0], f"the parameters are, literally:\n{PARAMETERS}")
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    if len(code) < 2 or "run.setup(device, scale, seed)" not in code[1]:
        fault(None, "the second code cell calls run.setup(device, ...)")


def _headings(notebook):
    """(cell index, title) of every second-level heading."""
    return [
        (index, title.strip())
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown"
        for title in re.findall(r"^## (.*)$", cell.source, re.MULTILINE)
    ]


def _check_shape(notebook, fault):
    headings = _headings(notebook)
    titles = [title for _, title in headings]
    if titles[-4:] != SECTIONS:
        fault(None, f"the last sections must be {SECTIONS}: {titles[-4:]}")
    beats = len(titles) - len(SECTIONS)
    if not 3 <= beats <= 7:
        fault(None, f"3 to 7 sections before 'Break it', not {beats}")
    ends = [index for index, title in headings if title == "Exercises"]
    body = ends[0] if ends else len(notebook.cells)
    low, high = BODY_CELLS
    if not low <= body <= high:
        fault(None, f"{low} to {high} cells before the exercises, not {body}")
    if "{cite}" not in "".join(c.source for c in notebook.cells):
        fault(None, "further reading must cite a work, {cite}`key`")


def _check_exercises(notebook, fault):
    """Each exercise is followed by its folded solution, which runs code."""
    asked, opened, count = None, None, 0
    solved = set()
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            if opened:
                solved.add(opened)
            continue
        for kind, rest in re.findall(
            r"^[`:~]{3,}\{(exercise|solution-start|solution-end|solution)\}(.*)$",
            cell.source,
            re.MULTILINE,
        ):
            if kind == "exercise":
                if asked:
                    fault(index, f"exercise {asked} has no solution")
                label = re.search(r"^:label: (\S+)", cell.source, re.MULTILINE)
                asked = label[1] if label else "without a label"
                count += 1
            elif kind == "solution-end":
                if opened and opened not in solved:
                    fault(index, f"the solution of {opened} runs no code")
                opened = None
            else:
                target = rest.strip()
                if target != asked:
                    fault(index, f"a solution of {target}, after {asked}")
                if ":class: dropdown" not in cell.source:
                    fault(index, f"the solution of {target} is not folded")
                opened = target if kind == "solution-start" else None
                asked = None
    if asked:
        fault(None, f"exercise {asked} has no solution")
    if opened:
        fault(None, f"the solution of {opened} has no end")
    low, high = EXERCISES
    if not low <= count <= high:
        fault(None, f"{low} to {high} exercises, not {count}")


def _check_markdown(index, cell, fault):
    source = cell.source
    linked = re.findall(r"!\[[^\]]*\]\(\s*(?:https?:)?//", source)
    linked += re.findall(r"(?i)<(?:img|iframe|script|link)\b", source)
    linked += re.findall(r"\{(?:figure|image)\}\s*(?:https?:)?//", source)
    linked += re.findall(r"!\[[^\]]*\]\[", source)  # by a reference
    if linked:
        fault(index, f"an image or script from elsewhere: {linked[0]}")
    if re.search(r"!\[\s*\]\(", source):
        fault(index, "an image without alternative text")
    for block in re.findall(
        r"^[`:~]{3,}\{(?:figure|image)\}.*?^[`:~]{3,}",
        source,
        re.MULTILINE | re.DOTALL,
    ):
        if ":alt:" not in block:
            fault(index, "an image without alternative text (:alt:)")


def _check_code(index, cell, cells, fault, allowed):
    source, tags = cell.source, set(cell.metadata.get("tags", []))
    if tags - TAGS:
        fault(index, f"unknown tags {sorted(tags - TAGS)}")
    lines = source.splitlines()
    if not 1 <= len(lines) <= LONGEST_CELL:
        fault(index, f"{len(lines)} lines; a cell has 1 to {LONGEST_CELL}")
    for line in lines:
        if len(line) > WIDEST_LINE:
            fault(index, f"a line of {len(line)} columns: {line[:40]}...")
        for pattern, cure in FORBIDDEN.items():
            if pattern not in allowed and re.search(pattern, line):
                fault(index, f"{line.strip()[:50]!r}: {cure}")
    before = [c.cell_type for c in cells[max(0, index - 2) : index]]
    if before == ["code", "code"]:
        fault(index, "the third code cell in a row: code follows prose")
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        fault(index, f"not Python: {error}")
        return
    for problem in _check_lib_names(tree):
        fault(index, problem)
    _check_outputs(index, cell, cells, fault)


def _check_outputs(index, cell, cells, fault):
    for output in cell.outputs:
        if output.get("name") == "stderr":
            fault(index, f"prints to stderr: {output.text[:100]!r}")
        if output.output_type == "error":
            fault(index, f"fails with {output.ename}")
        figures = [
            kind
            for kind in output.get("data", {})
            if kind.startswith("image/")
        ]
        for kind in figures:
            _check_figure(index, cell, output.data[kind], fault)
    if cell.execution_count is None:
        fault(index, "was never executed, so nothing is compared")
    for tag in VARIES.keys() & set(cell.metadata.get("tags", [])):
        if not cell.outputs:
            fault(index, f"prints nothing, so {tag} has no reason")
        elif not re.search(VARIES[tag], cell.source):
            fault(index, f"nothing in it is a reason for {tag}")
    if varies(cell):
        following = next(
            (c for c in cells[index + 1 :] if c.cell_type == "code"), None
        )
        if not any(_asserts(c) for c in (cell, following) if c):
            fault(
                index,
                "its output is not compared, so it or the next code cell "
                "must assert",
            )


def _check_figure(index, cell, content, fault):
    settings = cell.metadata.get("mystnb", {})
    if len(settings.get("image", {}).get("alt", "")) < 30:
        fault(index, "a figure without alternative text of 30 characters")
    if not settings.get("figure", {}).get("caption"):
        fault(index, "a figure without a caption")
    if not settings.get("figure", {}).get("name", "").startswith("fig-"):
        fault(index, "a figure without a name, 'fig-...'")
    if len(content) > MOST_FIGURE_BYTES:
        fault(index, f"a figure of {len(content) // 1000} kB")


def _asserts(cell):
    """Whether a cell has an assert statement or calls one of lib.checks."""
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Assert):
            return True
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "checks"
        ):
            return True
    return False


@cache
def _lib_modules():
    folder = Path(__file__).resolve().parent.parent / "lib"
    return {p.stem for p in folder.glob("*.py")} - {"__init__"}


def _check_lib_names(tree):
    """Every `run.x`, `checks.x` ... that a page uses must exist in lib."""
    assigned = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            for alias in node.names:
                if alias.name not in _lib_modules() or alias.asname:
                    yield f"lib has no module {alias.name!r} of this name"
        elif (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("lib.")
        ) or (
            isinstance(node, ast.Import)
            and any(a.name.split(".")[0] == "lib" for a in node.names)
        ):
            yield "lib is imported by 'from lib import module'"
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in _lib_modules() - assigned
        ):
            module = importlib.import_module(f"lib.{node.value.id}")
            if node.attr.startswith("_") or not hasattr(module, node.attr):
                yield f"lib.{node.value.id} has no {node.attr!r}"


def toc_files(root):
    """Every file that _toc.yml names, without its ending."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            found.extend(node[k] for k in ("root", "file") if k in node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(yaml.safe_load((Path(root) / "_toc.yml").read_text("utf-8")))
    return found


def toc_problems(root):
    """Pages that _toc.yml does not name, and names without a page."""
    root = Path(root)
    named = set(toc_files(root))
    there = {
        p.relative_to(root).with_suffix("").as_posix()
        for pattern in ("chapters/*/*.ipynb", "chapters/*/*.md", "about/*.md")
        for p in root.glob(pattern)
    } | {"index"}
    return [
        f"{p}: is missing from _toc.yml" for p in sorted(there - named)
    ] + [
        f"{p}: _toc.yml names it, but there is no such page"
        for p in sorted(named - there)
    ]
