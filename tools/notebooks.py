"""Execute the book's pages.

    python -m tools.notebooks run [--device D] [--scale S] [--seed N]
    python -m tools.notebooks refresh
    python -m tools.notebooks check

`run` executes pages with these parameters into _build/notebooks, carries on
past a failure, and skips what has already passed. `refresh` executes them at
their defaults and stores the outputs, normalized. `check` names the pages
that are not normalized. `--only tensors,autograd` selects pages for each.
"""

import argparse
import concurrent.futures
import difflib
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
import papermill
import psutil

ROOT = Path(__file__).resolve().parent.parent
GUARD = ROOT / "tools" / "guard"
SECONDS_A_PAGE = {"small": 60, "full": 3600}


@dataclass
class Result:
    """What one execution of a page did and cost."""

    page: str
    ok: bool
    seconds: float
    peak_megabytes: float
    busy_seconds: float = 0.0
    error: str = ""


def all_pages(root: Path = ROOT) -> dict[str, Path]:
    """Every page by its name, `01_tensors/autograd`, in reading order."""
    paths = sorted(root.glob("chapters/*/*.ipynb"))
    return {f"{p.parent.name}/{p.stem}": p for p in paths}


def select_pages(only: str, root: Path = ROOT) -> dict[str, Path]:
    """The pages that a comma- or blank-separated list of names means.

    A name is a page, `autograd` or `01_tensors/autograd`, or a chapter.

    Raises:
        ValueError: a name fits no page; the message says what is near.
    """
    pages = all_pages(root)
    if not only.strip():
        return pages
    chosen = set()
    for name in re.split(r"[,\s]+", only.strip()):
        short = name.removeprefix("chapters/").removesuffix(".ipynb")
        short = short.strip("/")
        found = [p for p in pages if short in (p, *p.split("/"))]
        if not found:
            known = [*pages, *(p.split("/")[1] for p in pages)]
            near = difflib.get_close_matches(short, known, n=3)
            raise ValueError(
                f"ONLY names no page {name!r}; "
                f"near: {', '.join(near) or ', '.join(pages)}"
            )
        chosen.update(found)
    return {p: path for p, path in pages.items() if p in chosen}


@contextmanager
def page_environment(threads: int = 1, cpu_only: bool = True):
    """The environment variables a kernel gets: strict, and repeatable.

    cpu_only is what the stored outputs are made and compared under.
    """
    wanted = {
        "OMP_NUM_THREADS": str(threads),
        # A waiting thread sleeps: beside other work, threads that spin made
        # cells of small batched operations ten times as slow.
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "PYTHONPATH": os.pathsep.join([str(GUARD), str(ROOT)]),
        "PYTHONWARNDEFAULTENCODING": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if cpu_only:
        wanted["CUDA_VISIBLE_DEVICES"] = ""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def execute(
    source: Path,
    target: Path,
    parameters: dict[str, object],
    *,
    folder: Path | None = None,
    seconds_limit: float = 60,
) -> Result:
    """Execute one page into target, measuring its seconds and memory.

    The seconds hold everything, the start of the kernel too; the memory is
    the largest resident set of the kernel and its children together. The
    busy seconds leave out waiting, as for a slow disk or a crowded machine.

    Args:
        folder: the working folder; by default the page's own.
    """
    page = f"{source.parent.name}/{source.stem}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        unknown = set(parameters) - parameter_names(source)
    except Exception as failure:  # conflict markers, say
        return Result(page, False, 0, 0, 0, f"cannot be read: {failure}")
    if unknown:
        names = ", ".join(sorted(unknown))
        return Result(page, False, 0, 0, 0, f"the page has no {names}")
    start, error = time.perf_counter(), ""
    with _watch_children() as used:
        try:
            papermill.execute_notebook(
                source,
                target,
                parameters=parameters,
                kernel_name="python3",
                language="python",
                cwd=folder or source.parent,
                progress_bar=False,
                execution_timeout=seconds_limit,
            )
        except papermill.PapermillExecutionError as failure:
            # With parameters, papermill puts one more cell before this one.
            index = failure.cell_index - bool(parameters)
            said = (failure.evalue.strip().splitlines() or [""])[0][:200]
            error = f"cell {index}: {failure.ename}: {said}"
        except Exception as failure:  # whatever it is, the table shows it
            last = (str(failure).strip().splitlines() or [""])[-1]
            error = f"{type(failure).__name__}: {last[:200]}"
    seconds = time.perf_counter() - start
    if not error and seconds > seconds_limit:
        error = f"took {seconds:.0f} s; a page may take {seconds_limit:.0f} s"
    busy = min(seconds, sum(used["cpu"].values()))
    return Result(page, not error, seconds, used["peak"] / 1e6, busy, error)


@contextmanager
def _watch_children():
    """Peak memory of this process's children, and CPU seconds of each."""
    used, done = {"peak": 0, "cpu": {}}, threading.Event()

    def watch():
        while not done.wait(0.05):
            total = 0
            for child in psutil.Process().children(recursive=True):
                try:
                    times = child.cpu_times()
                    used["cpu"][child.pid] = times.user + times.system
                    total += child.memory_info().rss
                except psutil.Error:
                    pass  # it ended between the listing and the question
            used["peak"] = max(used["peak"], total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield used
    finally:
        done.set()
        thread.join()


def parameter_names(source: Path) -> set[str]:
    """The names that a page's `parameters` cell assigns."""
    for cell in nbformat.read(source, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            return set(re.findall(r"^(\w+) *=", cell.source, re.MULTILINE))
    return set()


def fingerprint(source: Path, parameters: dict[str, object]) -> str:
    """Changes with the page, lib, the data, the parameters and versions."""
    packages = ("torch", "numpy", "pandas", "matplotlib")
    versions = [importlib.metadata.version(name) for name in packages]
    decisive = [parameters, sys.version, versions]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for path in [source, *sorted(ROOT.glob("lib/*.py")), *_data_files()]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _data_files() -> list[Path]:
    return sorted(p for p in (ROOT / "data").iterdir() if p.is_file())


def normalize(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what changes without meaning; keep sources, ids and outputs."""
    notebook = nbformat.v4.upgrade(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
    )
    count = 0
    for cell in notebook.cells:
        kept = {
            key: cell.metadata[key]
            for key in ("tags", "mystnb")
            if cell.metadata.get(key)
        }
        if "tags" in kept:
            kept["tags"] = sorted(kept["tags"])
        cell.metadata = nbformat.from_dict(kept)
        lines = cell.source.strip("\n").splitlines()
        cell.source = "\n".join(line.rstrip() for line in lines)
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = _normalize_outputs(cell.outputs, count)
    ids = [cell.get("id") for cell in notebook.cells]
    if None in ids or len(set(ids)) < len(ids):
        for position, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{position:03d}"
    return notebook


def _normalize_outputs(outputs, count):
    kept = []
    for output in outputs:
        if output.output_type == "stream":
            output.text = without_addresses(output.text)
            last = kept[-1] if kept else None
            if last and last.get("name") == output.name:
                last.text += output.text
                continue
        elif output.output_type in ("display_data", "execute_result"):
            output.metadata = nbformat.from_dict({})
            if "execution_count" in output:
                output.execution_count = count
            text = output.data.get("text/plain")
            if text:
                output.data["text/plain"] = without_addresses(text)
        kept.append(output)
    return kept


def without_addresses(text: str) -> str:
    """Replace memory addresses, `<... at 0x...>`, which no two runs share."""
    return re.sub(r"\bat 0x[0-9a-fA-F]{6,}\b", "at 0x7f0000000000", text)


def keep_varying(
    old: nbformat.NotebookNode, new: nbformat.NotebookNode
) -> None:
    """Keep the old outputs that no two runs share, while the code is the same.

    Cells that say by a `varies-` tag that their output differs each time
    would otherwise change the file at each refresh.
    """
    if [c.source for c in old.cells] != [c.source for c in new.cells]:
        return
    for before, after in zip(old.cells, new.cells, strict=True):
        tags = before.metadata.get("tags", [])
        if any(tag.startswith("varies-") for tag in tags):
            kinds = [
                [(o.output_type, o.get("name")) for o in cell.outputs]
                for cell in (before, after)
            ]
            if kinds[0] == kinds[1]:
                after.outputs = before.outputs


def to_text(notebook: nbformat.NotebookNode) -> str:
    """The one way a notebook is written to disk."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _run_one(name, source, target, parameters, limit, threads):
    """One page of `run`, in a process of its own."""
    record = target.with_suffix(".json")
    mark = fingerprint(source, parameters)
    try:
        old = json.loads(record.read_text(encoding="utf-8"))
        if target.exists() and old.pop("fingerprint") == mark and old["ok"]:
            return Result(**old), True
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no record, or one that was half written
    cpu_only = parameters["device"] == "cpu"
    with page_environment(threads, cpu_only):
        if parameters["scale"] == "full":  # which may fetch its data
            os.environ["BOOK_NETWORK"] = "1"
        result = execute(source, target, parameters, seconds_limit=limit)
    entry = {"fingerprint": mark, **asdict(result)}
    write_whole(record, json.dumps(entry, indent=1) + "\n")
    return result, False


def run(arguments: argparse.Namespace) -> int:
    """Execute the chosen pages in parallel; print a table; 1 on failure."""
    from lib import run as lib_run

    if arguments.jobs < 1:
        raise ValueError(f"JOBS is {arguments.jobs}; it must be at least 1")
    pages = select_pages(arguments.only)
    parameters = {
        "device": arguments.device,
        "scale": arguments.scale,
        "seed": arguments.seed,
    }
    # Refuse a wrong value now, not once in every page.
    chosen = lib_run.setup(**parameters)
    print(f"parameters: {parameters}; {len(pages)} pages", flush=True)
    name = f"{arguments.device}-{arguments.scale}-seed{arguments.seed}"
    folder = ROOT / "_build" / "notebooks" / name.replace(":", "_")
    # Pages on one GPU run one after the other, to time them fairly.
    jobs = arguments.jobs if chosen.type == "cpu" else 1
    threads = max(1, (os.cpu_count() or 1) // jobs)
    limit = SECONDS_A_PAGE[arguments.scale]
    results = {}
    with concurrent.futures.ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        futures = {}
        for page, source in pages.items():
            target = folder / f"{page}.ipynb"
            futures[
                pool.submit(
                    _run_one, page, source, target, parameters, limit, threads
                )
            ] = page
        for future in _stoppable(pool, futures):
            page = futures[future]
            try:
                result, skipped = future.result()
            except Exception as failure:  # its process was killed, say
                error = f"{type(failure).__name__}: {str(failure)[:200]}"
                result, skipped = Result(page, False, 0, 0, 0, error), False
            results[page] = result
            status = "done before" if skipped else _status(result)
            print(
                f"[{len(results)}/{len(pages)}] {status:11} "
                f"{result.seconds:6.1f} s  {page}",
                flush=True,
            )
    print_table([results[page] for page in pages])
    print(f"executed notebooks: {folder}")
    return int(not all(result.ok for result in results.values()))


def _stoppable(pool, futures):
    """Futures as they end; when stopped, no process is left behind."""
    try:
        yield from concurrent.futures.as_completed(futures)
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
        raise


def _status(result: Result) -> str:
    return "ok" if result.ok else "FAILED"


def print_table(results: list[Result]) -> None:
    """Page, status, seconds, peak memory, first error."""
    width = max((len(r.page) for r in results), default=4)
    print(f"\n{'page':{width}}  status  seconds  peak MB  first error")
    for r in results:
        print(
            f"{r.page:{width}}  {_status(r):6}  {r.seconds:7.1f}  "
            f"{r.peak_megabytes:7.0f}  {r.error}"
        )


def refresh(arguments: argparse.Namespace) -> int:
    """Execute pages at their defaults; store the normalized outputs."""
    failed = 0
    for page, source in select_pages(arguments.only).items():
        target = ROOT / "_build" / "refresh" / f"{page}.ipynb"
        with page_environment():
            result = execute(source, target, {})
        if not result.ok:
            failed += 1
            print(f"FAILED     {page}: {result.error} (the page is as it was)")
            continue
        new = normalize(nbformat.read(target, as_version=4))
        keep_varying(nbformat.read(source, as_version=4), new)
        text = to_text(new)
        changed = text != source.read_text(encoding="utf-8")
        if changed:
            write_whole(source, text)
        print(
            f"{'updated' if changed else 'unchanged':10} {page} "
            f"({result.seconds:.1f} s, {result.peak_megabytes:.0f} MB)",
            flush=True,
        )
    return int(failed > 0)


def check(arguments: argparse.Namespace) -> int:
    """Name the pages that `refresh` would write differently."""
    bad = []
    for page, source in select_pages(arguments.only).items():
        text = source.read_text(encoding="utf-8")
        if to_text(normalize(nbformat.reads(text, as_version=4))) != text:
            bad.append(page)
    for page in bad:
        print(f"not normalized: {page}; run `make refresh ONLY={page}`")
    return int(bool(bad))


def main(argv: list[str] | None = None) -> int:
    """Parse the command line; the exit status tells whether all passed."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (run, refresh, check):
        sub = commands.add_parser(command.__name__, help=command.__doc__)
        sub.set_defaults(function=command)
        sub.add_argument("--only", default="", help="pages or chapters")
        if command is run:
            sub.add_argument("--device", default="auto")
            sub.add_argument("--scale", default="small")
            sub.add_argument("--seed", default=0, type=int)
            sub.add_argument("--jobs", default=os.cpu_count() or 1, type=int)
    arguments = parser.parse_args(argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        return arguments.function(arguments)
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _interrupt(number, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
