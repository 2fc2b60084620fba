"""What pages measure at full scale, for the site's page of results.

    python -m benchmarks.results [--only PAGES] [--seeds N] [--device D]
                                 [--jobs N]

executes pages with scale="full", once for each seed from 0 on, and records
what each has in its variable `full_scale_results`: a list of dictionaries
with the keys "data", "model", "measure" and "value" (a number). A page without
such a variable is left out. Nothing is recorded of a page that fails.

With --jobs, that many runs share the CPU's cores, each with its part of them:
on two cores, two small networks with one thread each are done sooner than one
after the other with two. Needs that many times the memory.
"""

import argparse
import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat

from benchmarks.costs import machine_facts
from lib import run
from tools import notebooks

RECORD = notebooks.ROOT / "benchmarks" / "results.json"
KEYS = ("data", "model", "measure", "value")
SECONDS = 3600.0
_MARK = "RESULTS "


def has_results(page: Path) -> bool:
    """Whether a page assigns the variable that is recorded."""
    return bool(
        re.search(r"^full_scale_results = ", _code(page), re.MULTILINE)
    )


def code_mark(page: Path) -> str:
    """Changes with the page's code: a record with another one is outdated."""
    return hashlib.sha256(_code(page).encode()).hexdigest()[:12]


def _code(page: Path) -> str:
    cells = nbformat.read(page, as_version=4).cells
    return "\n".join(c.source for c in cells if c.cell_type == "code")


def measure(
    page: Path,
    seed: int,
    *,
    scale: str = "full",
    device: str = "auto",
    jobs: int = 1,
) -> list[dict]:
    """Execute a page once, and return what it has in `full_scale_results`.

    It gets its part of the cores, as one of so many jobs.

    Raises:
        RuntimeError: the page failed, or its results lack a key, or a value
            is no number.
    """
    notebook = nbformat.read(page, as_version=4)
    notebook.cells.append(
        nbformat.v4.new_code_cell(
            f"import json\nprint({_MARK!r} + json.dumps(full_scale_results))"
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / page.parent.name / page.name
        source.parent.mkdir()
        nbformat.write(notebook, source)
        os.environ["BOOK_NETWORK"] = "1"  # it may fetch its data
        try:
            with notebooks.page_environment(
                threads=max((os.cpu_count() or 1) // jobs, 1),
                cpu_only=device == "cpu",
            ):
                done = notebooks.execute(
                    source,
                    Path(folder) / "out.ipynb",
                    {"scale": scale, "seed": seed, "device": device},
                    folder=page.parent,
                    seconds_limit=SECONDS,
                )
        finally:
            del os.environ["BOOK_NETWORK"]
        if not done.ok:
            raise RuntimeError(f"{done.page} with seed {seed}: {done.error}")
        out = nbformat.read(Path(folder) / "out.ipynb", as_version=4)
    printed = "".join(o.get("text", "") for o in out.cells[-1].outputs)
    results = json.loads(printed.partition(_MARK)[2])
    for result in results:
        wrong = set(KEYS) ^ set(result)
        if wrong or not isinstance(result["value"], float):
            raise RuntimeError(
                f"{done.page}: a result has the keys {', '.join(KEYS)}, and "
                f"its value is a float; not {result}"
            )
    return results


def combine(page: str, mark: str, runs: list[list[dict]]) -> list[dict]:
    """One record for each result of a page, over the runs with all seeds.

    Raises:
        RuntimeError: the runs have results of different names.
    """
    records = []
    for parts in zip(*runs, strict=True):
        names = [[part[k] for k in KEYS[:3]] for part in parts]
        if names.count(names[0]) < len(names):
            raise RuntimeError(f"{page}: the seeds have different results")
        records.append(
            {
                "page": page,
                "code": mark,
                **{k: parts[0][k] for k in KEYS[:3]},
                "seeds": list(range(len(parts))),
                "values": [round(part["value"], 6) for part in parts],
            }
        )
    return records


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the means, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results")
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args(arguments)
    for name in ("seeds", "jobs"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1")
    facts = machine_facts(run.choose_device(given.device)[0])
    failed = False
    pages = {
        page: path
        for page, path in notebooks.select_pages(given.only).items()
        if has_results(path)
    }
    marks = {page: code_mark(path) for page, path in pages.items()}
    how = {"device": given.device, "jobs": given.jobs}
    # A fresh process for each run: its environment is its own.
    with concurrent.futures.ProcessPoolExecutor(
        given.jobs,
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1,
    ) as pool:
        running = {
            page: [
                pool.submit(measure, path, seed, **how)
                for seed in range(given.seeds)
            ]
            for page, path in pages.items()
        }
        for page, runs in running.items():
            failed |= not _record(page, marks[page], runs, facts)
    return int(failed)


def _record(page: str, mark: str, runs: list, facts: dict) -> bool:
    """Wait for a page's runs, and record them; False if one has failed."""
    try:
        results = []
        for seed, done in enumerate(runs):
            results.append(done.result())
            print(f"{page}, seed {seed}: done", flush=True)
        new = [record | facts for record in combine(page, mark, results)]
    except RuntimeError as error:
        for run_left in runs:
            run_left.cancel()
        print(f"error: {error}; nothing recorded of it", file=sys.stderr)
        return False
    for record in new:
        mean = statistics.mean(record["values"])
        print(f"  {mean:8.3f}  {record['model']} on {record['data']}")
    old = []
    if RECORD.exists():
        old = json.loads(RECORD.read_text(encoding="utf-8"))
    old = [record for record in old if record["page"] != page]
    new = sorted([*old, *new], key=lambda record: record["page"])
    notebooks.write_whole(RECORD, json.dumps(new, indent=1) + "\n")
    return True


if __name__ == "__main__":
    sys.exit(main())
