"""The commands that maintain the book, with small pages of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools import doctor, install, notebooks

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = 'device = "auto"\nscale = "small"\nseed = 0'


def write_page(path, *sources):
    """A page of code cells; the first is tagged as the parameters."""
    cells = [nbformat.v4.new_code_cell(s) for s in (PARAMETERS, *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def book(tmp_path, monkeypatch):
    """An empty book in place of the real one."""
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(
        notebooks, "all_pages", lambda root=tmp_path: pages_of(tmp_path)
    )
    return tmp_path


def pages_of(root):
    paths = sorted(root.glob("chapters/*/*.ipynb"))
    return {f"{p.parent.name}/{p.stem}": p for p in paths}


class TestSelect:
    def test_by_page_chapter_and_path(self):
        names = list(notebooks.all_pages())
        first = names[0]
        chapter, page = first.split("/")
        assert list(notebooks.select_pages(page)) == [first]
        assert list(notebooks.select_pages(first)) == [first]
        path = f"chapters/{first}.ipynb"
        assert list(notebooks.select_pages(path)) == [first]
        assert first in notebooks.select_pages(chapter)
        assert list(notebooks.select_pages(" ")) == names

    def test_a_wrong_name_is_refused_with_a_near_one(self):
        page = next(iter(notebooks.all_pages())).split("/")[1]
        with pytest.raises(ValueError, match=page):
            notebooks.select_pages(page + "x")


class TestExecute:
    def test_parameters_arrive_and_costs_are_measured(self, tmp_path):
        hungry = "big = bytearray(200_000_000); print(seed, scale)"
        page = write_page(tmp_path / "01_x" / "page.ipynb", hungry)
        out = tmp_path / "out.ipynb"
        result = notebooks.execute(page, out, {"seed": 5, "scale": "full"})
        assert result.ok and result.seconds > 0
        assert result.peak_megabytes > 200
        assert 0 < result.busy_seconds <= result.seconds
        assert "5 full" in out.read_text(encoding="utf-8")

    def test_an_unknown_parameter_is_refused(self, tmp_path):
        page = write_page(tmp_path / "01_x" / "page.ipynb")
        result = notebooks.execute(page, tmp_path / "out.ipynb", {"sed": 1})
        assert not result.ok and "no sed" in result.error

    def test_a_failure_names_the_cell_and_the_error(self, tmp_path):
        page = write_page(tmp_path / "01_x" / "page.ipynb", "1", "1 / 0")
        for parameters in ({}, {"seed": 1}):
            result = notebooks.execute(
                page, tmp_path / "out.ipynb", parameters
            )
            assert not result.ok
            assert result.error == (
                "cell 2: ZeroDivisionError: division by zero"
            )

    def test_a_page_that_takes_too_long_fails(self, tmp_path):
        """One long cell, and many short ones that add up."""
        long = write_page(
            tmp_path / "01_x" / "long.ipynb", "import time; time.sleep(90)"
        )
        result = notebooks.execute(
            long, tmp_path / "out.ipynb", {}, seconds_limit=2
        )
        assert not result.ok and "01_x/long" == result.page
        assert "Timeout" in result.error, result.error
        short = ["import time; time.sleep(0.8)"] * 4
        many = write_page(tmp_path / "01_x" / "many.ipynb", *short)
        result = notebooks.execute(
            many, tmp_path / "out.ipynb", {}, seconds_limit=2
        )
        assert not result.ok and "a page may take 2 s" in result.error


class TestRun:
    def main(self, *arguments):
        return notebooks.main(["run", "--device", "cpu", *arguments])

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--scale", "huge"], "must be one of small, full"),
            (["--device", "gpu"], "device is 'gpu'"),
            (["--seed", "-1"], "whole number"),
            (["--only", "no_such_page"], "names no page"),
        ],
    )
    def test_a_wrong_value_is_refused_at_once(self, arguments, says, capsys):
        assert self.main(*arguments) == 2
        assert says in capsys.readouterr().err

    def test_no_jobs_are_refused(self, capsys):
        assert self.main("--jobs", "0") == 2
        assert "at least 1" in capsys.readouterr().err

    def test_a_page_that_cannot_be_read_stops_no_other(self, book, capsys):
        write_page(book / "chapters/01_x/good.ipynb", "print(seed)")
        bad = book / "chapters/01_x/bad.ipynb"
        bad.write_text("<<<<<<< ours", encoding="utf-8")
        assert self.main("--jobs", "1") == 1
        said = capsys.readouterr().out
        assert "cannot be read" in said, said
        record = book / "_build/notebooks/cpu-small-seed0/01_x/good.json"
        record.write_text("{", encoding="utf-8")
        bad.unlink()
        assert self.main("--jobs", "1") == 0, "half a record is no record"

    def test_carries_on_skips_and_tells_the_truth(self, book, capsys):
        good = write_page(book / "chapters/01_x/good.ipynb", "print(seed)")
        bad = write_page(book / "chapters/01_x/bad.ipynb", "1 / 0")
        assert self.main("--seed", "3", "--jobs", "1") == 1
        said = capsys.readouterr().out
        assert "ZeroDivisionError" in said
        assert (book / "_build/notebooks/cpu-small-seed3/01_x/good.ipynb"
                ).exists()  # fmt: skip
        write_page(bad, "print('mended')")
        assert self.main("--seed", "3", "--jobs", "1") == 0
        said = capsys.readouterr().out
        assert said.count("done before") == 1, "the good page is skipped"
        write_page(good, "print(seed + 1)")
        assert self.main("--seed", "3", "--jobs", "1") == 0
        assert capsys.readouterr().out.count("done before") == 1


class TestRefresh:
    def test_twice_is_the_same_and_a_failure_changes_nothing(
        self, book, capsys
    ):
        page = write_page(
            book / "chapters/01_x/page.ipynb",
            "object()",
            "import time; print(time.time())",
            "import matplotlib.pyplot as plt\n"
            "from lib import plots\nplots.use_style()\n"
            "ax = plots.curves([0, 1], {'a': [0, 1]}, xlabel='', ylabel='')",
        )
        notebook = nbformat.read(page, as_version=4)
        notebook.cells[2].metadata["tags"] = ["varies-timing"]
        nbformat.write(notebook, page)
        assert notebooks.main(["refresh"]) == 0
        first = page.read_bytes()
        assert notebooks.main(["refresh"]) == 0
        assert page.read_bytes() == first
        assert "unchanged" in capsys.readouterr().out
        assert notebooks.main(["check"]) == 0
        for noise in (b"papermill", b"iopub", b"0x7f0000000000"):
            assert (noise in first) == (noise == b"0x7f0000000000")
        bad = page.read_text(encoding="utf-8").replace("object()", "1 / 0")
        page.write_text(bad, encoding="utf-8")
        assert notebooks.main(["refresh"]) == 1
        assert page.read_text(encoding="utf-8") == bad

    def test_check_names_a_page_that_is_not_normalized(self, book, capsys):
        write_page(book / "chapters/01_x/page.ipynb")
        assert notebooks.main(["check"]) == 1
        assert "01_x/page" in capsys.readouterr().out


@pytest.mark.skipif(
    not shutil.which("make"),
    reason="needs make; README has the lines for those without it",
)
class TestMake:
    """make itself, as far as that goes without installing."""

    def make(self, *arguments, **environment):
        return subprocess.run(
            ["make", *arguments],
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, **environment},
            check=False,
        )

    def test_help_lists_every_target(self):
        said = self.make("help").stdout
        for (
            target
        ) in "site serve test notebooks refresh bench lint clean".split():
            assert f"\n{target} " in said, target

    def test_a_mistyped_parameter_is_refused(self):
        answer = self.make("notebooks", "DEVCE=cuda")
        assert answer.returncode != 0
        assert "unknown parameter DEVCE" in answer.stderr

    def test_a_python_that_is_missing(self):
        answer = self.make("install", "PYTHON=python9")
        assert answer.returncode != 0
        assert "there is no python9" in answer.stderr


class TestInstall:
    def test_a_python_that_is_too_old(self, monkeypatch, capsys):
        monkeypatch.setattr(install, "OLDEST", (99, 0))
        with pytest.raises(SystemExit) as stopped:
            install.check_python()
        assert stopped.value.code == 1
        said = capsys.readouterr().err
        assert said.startswith("error: Python 99.0 or newer is needed")
        assert said.count("\n") == 1

    def test_nothing_is_done_twice(self, tmp_path, monkeypatch, capsys):
        done = []
        (tmp_path / "env").mkdir()
        monkeypatch.setattr(install, "run_pip", lambda *a: done.append("pip"))
        monkeypatch.setattr(install, "warm_up", lambda *a: done.append("warm"))
        monkeypatch.setattr(
            install,
            "make_environment",
            lambda folder: done.append("made"),
        )
        monkeypatch.setattr(sys, "argv", ["install", str(tmp_path / "env")])
        install.main()
        assert done == ["made", "pip", "warm"]
        install.main()
        assert done == ["made", "pip", "warm"], "nothing has changed"
        monkeypatch.setattr(install, "inputs_digest", lambda root: "other")
        install.main()
        assert done[3:] == ["made", "pip", "warm"]

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path, capsys):
        """Nobody's files are deleted for `make VENV=their_folder`."""
        mine = tmp_path / "thesis.txt"
        mine.write_text("years of work", encoding="utf-8")
        with pytest.raises(SystemExit):
            install.make_environment(str(tmp_path))
        assert mine.read_text(encoding="utf-8") == "years of work"
        assert "holds other files" in capsys.readouterr().err

    def test_a_package_that_cannot_be_had(self, tmp_path, monkeypatch, capsys):
        """pip's own word in one line, and no stamp that says installed."""
        (tmp_path / "requirements.txt").write_text(
            "no-such-package-of-ours\n", encoding="utf-8"
        )
        (tmp_path / "constraints.txt").write_text("", encoding="utf-8")
        monkeypatch.setattr(
            install, "python_of", lambda folder: sys.executable
        )
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        with pytest.raises(SystemExit):
            install.run_pip(str(tmp_path), str(tmp_path))
        said = capsys.readouterr().err
        assert "No matching distribution found for no-such-package" in said
        assert said.count("\n") == 1


def test_doctor_finds_this_machine_well(capsys):
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert "multiply, decompose and plot: ok" in said
    assert "this machine runs the book" in said


def test_doctor_names_the_cure(monkeypatch, capsys):
    monkeypatch.setattr(
        doctor,
        "MULTIPLY_AND_PLOT",
        "raise SystemExit('OMP: Error #15: libiomp5')",
    )
    monkeypatch.setattr(doctor, "TRY_DEVICE", "print('not asked here')")
    assert doctor.main() == 1
    assert "two OpenMP runtimes" in capsys.readouterr().out
