"""Tests of the tests: a sound page is damaged, and the damage is caught.

Each test begins with a page that passes, changes one thing a maintainer may
really get wrong, and demands a failure that names the page and the cell.
"""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests import anatomy
from tests.notebook_outputs import differences
from tools import notebooks

ROOT = Path(__file__).resolve().parent.parent
CODE, TEXT = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell

# A page about 3 * x, whose gradient is worked out by hand and proven.
OPENING = """# Three times

**The question.** What is three times a number?

**You will be able to**

- triple,
- check,
- doubt.

**You need** nothing.

**Cost** at most 20 seconds and 1.5 GB of memory."""
PROOF = """class Triple(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return 3 * x

    @staticmethod
    def backward(context, gradient):
        return 3 * gradient


checks.same_function(
    Triple.apply, lambda x: 3 * x, torch.ones(2), what="triple"
)"""
EXERCISE = "```{exercise}\n:label: ex-%d\n\nTriple.\n```"
SOLUTION = "```{solution-start} ex-%d\n:label: sol-%d\n:class: dropdown\n```"


def sound_page():
    """A small page that keeps every rule."""
    cells = [
        TEXT(OPENING),
        CODE('device = "auto"\nscale = "small"\nseed = 0'),
        TEXT("Set up."),
        CODE(
            "import torch\n\nfrom lib import checks, plots, run\n\n"
            "device = run.setup(device, scale, seed)\nplots.use_style()"
        ),
        TEXT("## Idea\n\nMultiply {cite}`euclid`."),
        CODE("3 * 12.5"),
        TEXT("## Proof\n\nThe gradient is three."),
        CODE(PROOF),
        TEXT("## Figure\n\nA line."),
        CODE(
            "ax = plots.curves([0, 1], {'3x': [0, 3]}, xlabel='', ylabel='')"
        ),
        TEXT("The place in memory differs each time."),
        CODE("x = torch.ones(1)\nprint(id(x))\nassert id(x) == id(x)"),
        *(TEXT(f"Paragraph {i}.") for i in range(15)),
        TEXT("## Break it"),
        TEXT("## Summary"),
        TEXT("## Exercises"),
    ]
    for i in (1, 2, 3):
        cells += [
            TEXT(EXERCISE % i),
            TEXT(SOLUTION % (i, i)),
            CODE(f"3 * {i}"),
            TEXT("```{solution-end}\n```"),
        ]
    cells += [TEXT("## Further reading"), TEXT("Then rest.")]
    cells[1].metadata["tags"] = ["parameters"]
    cells[11].metadata["tags"] = ["varies-address"]
    cells[9].metadata["mystnb"] = {
        "image": {"alt": "A straight line that rises from zero to three."},
        "figure": {"caption": "Three times x.", "name": "fig-line"},
    }
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The sound page, executed and normalized as `make refresh` does."""
    folder = tmp_path_factory.mktemp("sound") / "01_sound"
    source, target = folder / "page.ipynb", folder / "out.ipynb"
    folder.mkdir()
    nbformat.write(sound_page(), source)
    with notebooks.page_environment():
        result = notebooks.execute(source, target, {})
    assert result.ok, result.error
    return notebooks.normalize(nbformat.read(target, as_version=4))


@pytest.fixture
def page(sound):
    """A copy of the sound page, to be damaged."""
    return copy.deepcopy(sound)


def write(notebook, folder, name="page", chapter="01_sound"):
    path = folder / "chapters" / chapter / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebooks.to_text(notebook), encoding="utf-8")
    return path


def execute_tests(folder, options=()):
    """The exit status and output of `make test`'s own test of a page.

    The project's configuration is copied beside the page's chapter, so that
    switching the comparison off there is noticed here.
    """
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", "--color=no", "-q", *options, "chapters"]
    result = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout + result.stderr)
    return result.returncode, said


def test_the_sound_page_passes(page, tmp_path):
    """Or else the damage below proves nothing."""
    path = write(page, tmp_path)
    assert anatomy.problems(path) == []
    status, said = execute_tests(tmp_path)
    assert status == 0, said
    assert "9 passed" in said, "each code cell of the page was compared"


def anatomy_fault(page, tmp_path):
    faults = anatomy.problems(write(page, tmp_path))
    assert len(faults) == 1, faults
    return faults[0]


class TestAnatomyCatches:
    """Without executing anything."""

    def test_an_exercise_without_a_solution(self, page, tmp_path):
        first = next(
            i for i, c in enumerate(page.cells) if "solution-start" in c.source
        )
        del page.cells[first : first + 3]
        assert "exercise ex-1 has no solution" in anatomy_fault(page, tmp_path)
        assert "01_sound/page cell" in anatomy_fault(page, tmp_path)

    def test_the_last_exercise_without_a_solution(self, page, tmp_path):
        last = max(
            i for i, c in enumerate(page.cells) if "solution-start" in c.source
        )
        del page.cells[last : last + 3]
        assert "exercise ex-3 has no solution" in anatomy_fault(page, tmp_path)

    def test_a_solution_that_runs_nothing(self, page, tmp_path):
        page.cells = [c for c in page.cells if c.source != "3 * 2"]
        assert "ex-2 runs no code" in anatomy_fault(page, tmp_path)

    def test_a_solution_that_is_not_folded(self, page, tmp_path):
        cell = next(c for c in page.cells if "start} ex-2" in c.source)
        cell.source = cell.source.replace(":class: dropdown\n", "")
        assert "ex-2 is not folded" in anatomy_fault(page, tmp_path)

    def test_a_figure_without_alternative_text(self, page, tmp_path):
        del page.cells[9].metadata["mystnb"]["image"]
        fault = anatomy_fault(page, tmp_path)
        assert fault.startswith("01_sound/page cell 9: ")
        assert "alternative text" in fault

    @pytest.mark.parametrize(
        "source",
        [
            "![a plot](https://example.org/plot.png)",
            "![a plot](//example.org/plot.png)",
            '<img alt="a plot" src="plot.png">',
            "```{figure} https://example.org/plot.png\n:alt: a plot\n```",
            ":::{figure} //example.org/plot.png\n:alt: a plot\n:::",
            "![a plot][1]\n\n[1]: https://example.org/plot.png",
        ],
    )
    def test_an_image_from_another_host(self, page, tmp_path, source):
        page.cells[8].source += "\n\n" + source
        fault = anatomy_fault(page, tmp_path)
        assert fault.startswith("01_sound/page cell 8: ")
        assert "from elsewhere" in fault

    def test_an_image_in_prose_without_alternative_text(self, page, tmp_path):
        good = page.cells[8].source
        for bad in ("![](plot.png)", ":::{figure} plot.png\n:::"):
            page.cells[8].source = f"{good}\n\n{bad}"
            assert "without alternative" in anatomy_fault(page, tmp_path)

    @pytest.mark.parametrize(
        "source",
        [
            "run.no_such_name()",
            "from lib import nothing",
            "from lib.run import nothing",
            "import lib.nothing",
            "checks._tensors",
        ],
    )
    def test_a_name_that_lib_does_not_have(self, page, tmp_path, source):
        page.cells[5].source += "\n" + source
        fault = anatomy_fault(page, tmp_path)
        assert fault.startswith("01_sound/page cell 5: lib")

    def test_a_cell_of_40_lines(self, page, tmp_path):
        page.cells[5].source = "\n".join(["3 * 12.5"] * 40)
        fault = anatomy_fault(page, tmp_path)
        assert fault.startswith("01_sound/page cell 5: 40 lines")

    def test_an_output_neither_compared_nor_asserted(self, page, tmp_path):
        page.cells[11].source = "x = torch.ones(1)\nprint(id(x))"
        page.cells[-4].source = "3 * 3"
        fault = anatomy_fault(page, tmp_path)
        assert fault.startswith("01_sound/page cell 11: ")
        assert "must assert" in fault

    def test_a_tag_that_says_the_wrong_reason(self, page, tmp_path):
        page.cells[5].metadata["tags"] = ["varies-timing"]
        fault = anatomy_fault(page, tmp_path)
        assert fault.startswith("01_sound/page cell 5: ")

    def test_a_cell_that_was_never_executed(self, page, tmp_path):
        page.cells[5].execution_count = None
        page.cells[5].outputs = []
        assert "never executed" in anatomy_fault(page, tmp_path)

    @pytest.mark.parametrize(
        "source",
        [
            "x = torch.ones(1).cuda()",
            "loader = dict(num_workers=2)",
            'x = torch.load("x.pt")',
            "3 * 12.5;",
            "%timeit 1",
            "1  # NBVAL_IGNORE_OUTPUT",
            "x = '" + "long" * 30 + "'",
        ],
    )
    def test_what_a_cell_may_not_say(self, page, tmp_path, source):
        page.cells[5].source = source
        faults = anatomy.problems(write(page, tmp_path))
        assert faults and all("page cell 5: " in f for f in faults)

    @pytest.mark.parametrize(
        ("chapter", "name", "allowed"),
        [
            ("02_linear_regression", "with_torch", True),
            ("02_linear_regression", "from_scratch", False),
            ("03_softmax", "with_torch", False),
        ],
    )
    def test_workers_on_any_page_but_the_one_about_them(
        self, page, tmp_path, chapter, name, allowed
    ):
        page.cells[5].source = "loader = dict(num_workers=2)"
        path = write(page, tmp_path, name, chapter)
        faults = anatomy.problems(path)
        cell = f"{chapter}/{name} cell 5: "
        assert len(faults) == (not allowed), faults
        assert all(f.startswith(cell) and "num_w" in f for f in faults)

    def test_the_page_about_workers_keeps_all_other_rules(
        self, page, tmp_path
    ):
        page.cells[5].source = "dict(num_workers=torch.ones(1).cuda())"
        path = write(page, tmp_path, "with_torch", "02_linear_regression")
        (fault,) = anatomy.problems(path)
        assert "use the device that run.setup returns" in fault

    @pytest.mark.parametrize("tag", ["nbval-skip", "raises-exception"])
    def test_a_tag_that_switches_the_test_off(self, page, tmp_path, tag):
        page.cells[5].metadata["tags"] = [tag]
        assert "unknown tags" in anatomy_fault(page, tmp_path)

    def test_a_page_missing_from_the_toc(self, page, tmp_path):
        (tmp_path / "index.md").write_text("# Home\n", encoding="utf-8")
        toc = "format: jb-book\nroot: index\nchapters:\n- file: {}\n"
        write(page, tmp_path)
        named = toc.format("chapters/01_sound/page")
        (tmp_path / "_toc.yml").write_text(named, encoding="utf-8")
        assert anatomy.toc_problems(tmp_path) == []
        write(page, tmp_path, "other")
        assert anatomy.toc_problems(tmp_path) == [
            "chapters/01_sound/other: is missing from _toc.yml"
        ]


def cell_number(page, index):
    """nbval counts code cells only."""
    return sum(c.cell_type == "code" for c in page.cells[:index])


class TestExecutionCatches:
    """By the very run that `make test` makes."""

    def caught(self, page, tmp_path, index, *words, options=()):
        write(page, tmp_path)
        status, said = execute_tests(tmp_path, options)
        assert status == 1, said
        failed = f"01_sound/page.ipynb::Cell {cell_number(page, index)}"
        assert failed in said, said
        for word in words:
            assert word in said, said
        return said

    def test_a_stored_output_altered_by_one_digit(self, page, tmp_path):
        data = page.cells[5].outputs[0].data
        assert data["text/plain"] == "37.5"
        data["text/plain"] = "37.6"
        self.caught(page, tmp_path, 5, "-37.6", "+37.5", "make refresh")

    def test_a_proof_with_a_wrong_sign(self, page, tmp_path):
        source = page.cells[7].source
        page.cells[7].source = source.replace("3 * gradient", "-3 * gradient")
        self.caught(page, tmp_path, 7, "triple: gradient of input 0")

    def test_a_figure_with_another_number(self, page, tmp_path):
        source = page.cells[9].source
        page.cells[9].source = source.replace("[0, 3]", "[1, 3]")
        self.caught(page, tmp_path, 9, "image/svg+xml")

    def test_an_output_that_nobody_stored(self, page, tmp_path):
        page.cells[5].source = "print('new')\n3 * 12.5"
        self.caught(page, tmp_path, 5, "stdout")

    def test_a_call_to_the_network(self, page, tmp_path):
        page.cells[5].source = (
            "import urllib.request\n"
            "urllib.request.urlopen('http://example.org').read()"
        )
        self.caught(page, tmp_path, 5, "the network is blocked")

    def test_a_page_that_takes_too_long(self, page, tmp_path):
        page.cells[5].source = "import time\ntime.sleep(90)"
        limit = ["--nbval-cell-timeout=15"]
        self.caught(page, tmp_path, 5, "Timeout", options=limit)

    def test_a_cell_that_hangs_is_stopped(self, pytestconfig):
        """By the clock, which runs on while kernels crowd the cores."""
        limit = pytestconfig.getoption("nbval_cell_timeout")
        assert limit == 5 * anatomy.MOST_SECONDS

    def test_a_warning_from_our_own_code(self, page, tmp_path):
        page.cells[
            5
        ].source = (
            "import warnings\nwarnings.warn('old', stacklevel=1)\n3 * 12.5"
        )
        self.caught(page, tmp_path, 5, "UserWarning: old")

    def test_a_file_opened_without_an_encoding(self, page, tmp_path):
        page.cells[5].source = "open(run.__file__).close()\n3 * 12.5"
        self.caught(page, tmp_path, 5, "EncodingWarning")

    def test_a_line_on_stderr(self, page, tmp_path):
        page.cells[
            5
        ].source = "import sys\nprint('!', file=sys.stderr)\n3 * 12.5"
        self.caught(page, tmp_path, 5, "stderr")


@pytest.mark.parametrize(
    ("seconds", "megabytes", "says"),
    [
        (19.0, 1400, None),
        (21.0, 1400, "busy for 21.0 s; it may be 20"),
        (19.0, 1600, "used 1.60 GB; it may use 1.5"),
    ],
)
def test_a_page_slower_or_larger_than_it_states(
    page, seconds, megabytes, says
):
    result = notebooks.Result("01/x", True, 90, megabytes, seconds)
    faults = anatomy.over_budget("01/x", result, anatomy.cost(page))
    assert faults == ([f"01/x: {says}"] if says else [])


def test_no_page_may_state_more_than_the_book_allows():
    result = notebooks.Result("01/x", True, 90, 2100, 61.0)
    assert len(anatomy.over_budget("01/x", result, (90, 3.0))) == 2


SVG = '<path d="M 10.5 20.25" style="stroke: #0072b2"/><use id="m0123456789"/>'


@pytest.mark.parametrize(
    ("kind", "stored", "new", "same"),
    [
        ("text/plain", "1.0001", "1.0002", False),
        ("text/plain", "<x at 0x7f1234567890>", "<x at 0x7fabcdefabcd>", True),
        ("text/html", "<td>1</td>", "<td>2</td>", False),
        ("image/svg+xml", SVG, SVG.replace("20.25", "20.2500001"), True),
        ("image/svg+xml", SVG, SVG.replace("20.25", "21.25"), False),
        (
            "image/svg+xml",
            SVG,
            SVG.replace("m0123456789", "mabcdef6789"),
            True,
        ),
        ("image/svg+xml", SVG, SVG.replace("0072b2", "d55e00"), False),
        ("image/svg+xml", SVG, SVG.replace("path", "line"), False),
    ],
)
def test_what_counts_as_a_difference(kind, stored, new, same):
    def output(text):
        return [{"output_type": "display_data", "data": {kind: text}}]

    assert (differences(output(stored), output(new)) == []) == same


def test_stored_pages_of_the_book_are_what_is_compared():
    """Plain `pytest`, as make calls it, collects every cell of every page."""
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    ).stdout
    for page, path in notebooks.all_pages().items():
        cells = nbformat.read(path, as_version=4).cells
        count = sum(c.cell_type == "code" for c in cells)
        assert said.count(f"{page}.ipynb::Cell") == count, page


@pytest.mark.skipif(
    not shutil.which("git") or not (ROOT / ".git").exists(),
    reason="needs git and a checkout made by it: git clone",
)
def test_nothing_generated_is_committed():
    files = subprocess.run(
        ["git", "ls-files"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    ).stdout.split()
    assert "README.md" in files
    for name in files:
        assert not name.startswith(("_build/", ".venv/")), name
        assert not name.endswith((".pyc", ".part")), name
