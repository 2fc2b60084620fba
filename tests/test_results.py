"""The page of results says what was run, and nothing else."""

import importlib.util
import json
from pathlib import Path

import nbformat
import pytest
from sphinx.errors import ExtensionError

from benchmarks import results
from tools import notebooks

ROOT = notebooks.ROOT
PAGES = notebooks.all_pages()
_spec = importlib.util.spec_from_file_location(
    "book_results", ROOT / "_ext" / "book_results.py"
)
book_results = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(book_results)


def write_page(folder: Path, value: str) -> Path:
    cells = [
        nbformat.v4.new_code_cell(
            'device = "auto"\nscale = "small"\nseed = 0',
            metadata={"tags": ["parameters"]},
        ),
        nbformat.v4.new_code_cell(
            "full_scale_results = [\n"
            '    {"data": scale, "model": "m", "measure": "x",\n'
            f'     "value": {value}}}\n]'
        ),
    ]
    page = folder / "99_sample" / "sample.ipynb"
    page.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), page)
    return page


def record(**changes) -> dict:
    values = {"data": "D", "model": "M", "measure": "accuracy, %"}
    values |= {"page": "01_tensors/tensors", "code": "abc", "seeds": [0, 1]}
    values |= {"values": [80.0, 82.0], "recorded": "2026-11-24"}
    values |= {"machine": "one", "python": "3.12", "torch": "2.15"}
    return values | changes


def test_results_are_those_of_a_page_run_at_full_scale(tmp_path):
    page = write_page(tmp_path, "10.0 + seed")
    assert results.has_results(page)
    got = [results.measure(page, seed, device="cpu") for seed in (0, 3)]
    assert [g[0]["value"] for g in got] == [10.0, 13.0]
    assert got[0][0]["data"] == "full"
    both = results.combine("99_sample/sample", "abc", got)
    assert both[0]["values"] == [10.0, 13.0]
    assert both[0]["seeds"] == [0, 1]


@pytest.mark.parametrize("value", ["'80 %'", "1 / 0", "None"])
def test_what_is_no_number_is_not_recorded(tmp_path, value):
    with pytest.raises(RuntimeError, match="float|ZeroDivision"):
        results.measure(write_page(tmp_path, value), 0, device="cpu")


def test_results_of_different_names_are_not_averaged():
    first = [{"data": "a", "model": "m", "measure": "x", "value": 1.0}]
    other = [{"data": "b", "model": "m", "measure": "x", "value": 1.0}]
    with pytest.raises(RuntimeError, match="different results"):
        results.combine("p", "abc", [first, other])


def test_runs_side_by_side_and_a_failure_that_stops_no_other_page(
    tmp_path, monkeypatch, capsys
):
    pages = {
        "a/good": write_page(tmp_path / "good", "10.0 + seed"),
        "b/bad": write_page(tmp_path / "bad", "1 / 0"),
    }
    monkeypatch.setattr(results.notebooks, "select_pages", lambda _: pages)
    monkeypatch.setattr(results, "RECORD", tmp_path / "results.json")
    assert results.main(["--seeds=2", "--jobs=2", "--device=cpu"]) == 1
    assert "ZeroDivisionError: division by zero; nothing recorded" in (
        capsys.readouterr().err
    )
    recorded = json.loads(results.RECORD.read_text(encoding="utf-8"))
    assert [(r["page"], r["values"]) for r in recorded] == [
        ("a/good", [10.0, 11.0])
    ]


@pytest.mark.parametrize("option", ["--jobs=0", "--seeds=0"])
def test_no_runs_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        results.main([option])
    assert "at least 1" in capsys.readouterr().err


def test_table_shows_mean_spread_and_what_was_published():
    published = [
        {**{k: record()[k] for k in ("data", "model", "measure")},
         "value": "79.9", "what": "their model", "cite": "key2020word"}
    ]  # fmt: skip
    marks = {"01_tensors/tensors": "abc"}
    text = "\n".join(book_results.table([record()], published, marks))
    assert "81.00 ± 1.41" in text
    assert "79.9: their model {cite}`key2020word`" in text
    assert "earlier version" not in text
    marks = {"01_tensors/tensors": "changed"}
    text = "\n".join(book_results.table([record()], published, marks))
    assert "81.00 ± 1.41 (by an earlier version of the page)" in text
    with pytest.raises(ExtensionError, match="nothing measured"):
        book_results.table([], published, {})


@pytest.mark.parametrize("page", PAGES)
def test_both_sides_tell_a_changed_page_alike(page):
    path = PAGES[page]
    assert results.code_mark(path) == book_results.code_mark(path)


def test_every_page_with_results_has_a_record():
    recorded = json.loads(results.RECORD.read_text(encoding="utf-8"))
    having = {p for p, path in PAGES.items() if results.has_results(path)}
    assert {r["page"] for r in recorded} == having, (
        "python -m benchmarks.results, and commit benchmarks/results.json"
    )
    for one in recorded:
        assert len(one["values"]) == len(one["seeds"]) >= 5, one["page"]
