"""Pytest plugin: nbval executes each cell; this decides what must agree.

Text, tables and error streams must agree exactly, but for memory addresses.
Figures must agree in structure and in every number to half a point, so that
a last digit computed differently by another processor does not count.
A cell tagged `varies-...` prints what no two machines share; there only the
kinds of its outputs must agree, and tests/anatomy.py demands an assertion.
"""

import base64
import difflib
import importlib
import io
import re
import warnings

import numpy as np
import pytest
from hypothesis import settings
from nbval.plugin import IPyNbCell
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

from tests.anatomy import varies
from tools.notebooks import page_environment, without_addresses

POINTS = 0.5  # of a figure that is about 360 points wide
LEVELS = 2.0  # of 255, on average over an image's pixels
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_EMBEDDED = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
_SVG_ID = re.compile(r"\b[mpC][0-9a-f_]{10,}\b|\bimage[0-9a-f]{10}\b")
_strict = None


class _Scheduler(LoadScopeScheduling):
    """A page's cells share a kernel; other tests go where there is room.

    (xdist's own --dist=loadgroup has no effect with pytest 9.2, which took
    away what it sets.)
    """

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return file if file.endswith(".ipynb") else nodeid


@pytest.hookimpl(optionalhook=True)  # xdist may be switched off
def pytest_xdist_make_scheduler(config, log):
    """Decide which tests run one after the other in one process."""
    return _Scheduler(config, log)


def pytest_sessionstart(session):
    """Give every kernel started from here the strict environment.

    Two threads, while `make refresh` stores outputs made with one: an output
    that depends on their number is no output for a book.
    """
    # Build the cache of fonts now, or the first page would warn about it.
    importlib.import_module("matplotlib.font_manager")
    # A busy machine is no fault, and a test is the same each time.
    settings.register_profile("book", deadline=None, derandomize=True)
    settings.load_profile("book")
    global _strict
    _strict = page_environment(threads=2)
    _strict.__enter__()


def pytest_sessionfinish(session):
    """Leave the environment as it was."""
    _strict.__exit__(None, None, None)


def pytest_itemcollected(item):
    """Compare the cells of pages our way."""
    if isinstance(item, IPyNbCell):
        item.compare_outputs = _Comparison(item)


class _Comparison:
    """Takes the place of nbval's own comparison for one cell."""

    def __init__(self, item):
        self.item = item

    def __call__(self, new, stored):
        problems = differences(
            stored, new, contents=not varies(self.item.cell)
        )
        if problems:
            page = f"{self.item.path.parent.name}/{self.item.path.stem}"
            problems.append(f"If the new is right: make refresh ONLY={page}")
        self.item.comparison_traceback = problems
        return not problems


def differences(stored, new, contents=True):
    """What two lists of a cell's outputs disagree about, in words.

    Args:
        contents: whether the contents must agree, or only their kinds.
    """
    old, now = _flat(stored), _flat(new)
    if [kind for kind, _ in old] != [kind for kind, _ in now]:
        return [
            f"stored outputs: {[kind for kind, _ in old]}",
            f"new outputs:    {[kind for kind, _ in now]}",
            *(text[:500] for kind, text in now if kind == "stderr"),
        ]
    if not contents:
        return []
    problems = []
    for (kind, before), (_, after) in zip(old, now, strict=True):
        problems += _COMPARE.get(kind, _compare_text)(kind, before, after)
    return problems


def _flat(outputs):
    """(kind, content) of every output; streams first, by name."""
    streams, rest = [], []
    for output in outputs:
        if output["output_type"] == "stream":
            streams.append((output["name"], output["text"]))
        elif output["output_type"] == "error":
            rest.append(("error", output["ename"]))
        else:
            rest += sorted(output["data"].items())
    return sorted(streams) + rest


def _compare_text(kind, before, after):
    before = without_addresses(_text(before)).rstrip("\n").splitlines()
    after = without_addresses(_text(after)).rstrip("\n").splitlines()
    if before == after:
        return []
    lines = difflib.unified_diff(before, after, "stored", "new", lineterm="")
    return [f"{kind} differs:", *lines]


def _compare_svg(kind, before, after):
    before, after = _text(before), _text(after)
    pictures = zip(
        _EMBEDDED.findall(before), _EMBEDDED.findall(after), strict=False
    )
    problems = [p for a, b in pictures for p in _compare_png(kind, a, b)]
    before, after = (
        _SVG_ID.sub("id", _EMBEDDED.sub("", text)) for text in (before, after)
    )
    if _NUMBER.sub("0", before) != _NUMBER.sub("0", after):
        return [f"{kind}: the figure's structure differs", *problems]
    old = np.array(_NUMBER.findall(before), dtype=float)
    new = np.array(_NUMBER.findall(after), dtype=float)
    far = np.flatnonzero(np.abs(old - new) > POINTS)
    if far.size:
        first = far[0]
        problems.append(
            f"{kind}: {far.size} of the figure's {old.size} numbers differ "
            f"by more than {POINTS}; the first was {old[first]} and is "
            f"{new[first]}"
        )
    return problems


def _compare_png(kind, before, after):
    old, new = (
        np.asarray(
            Image.open(io.BytesIO(base64.b64decode(_text(data)))), dtype=float
        )
        for data in (before, after)
    )
    if old.shape != new.shape:
        return [f"{kind}: size {old.shape} became {new.shape}"]
    distance = np.abs(old - new).mean()
    if distance > LEVELS:
        return [f"{kind}: pixels differ by {distance:.1f} levels on average"]
    return []


_COMPARE = {
    "image/svg+xml": _compare_svg,
    "image/png": _compare_png,
    "image/jpeg": _compare_png,
}


def _text(value):
    return value if isinstance(value, str) else "".join(value)


# nbval reads some of its files without naming an encoding.
warnings.filterwarnings("ignore", category=EncodingWarning)
