"""Render the site: `python -m tools.site` writes _build/html.

It executes nothing, and always begins afresh: a second build of Sphinx does
not repeat the warnings about pages that it does not render again.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(root: Path = ROOT, output: Path | None = None) -> Path:
    """Render the book at root with warnings as errors.

    Args:
        output: the folder in which _build/html appears; root by default.

    Returns:
        The folder that holds the site's index.html.

    Raises:
        RuntimeError: Sphinx warned or failed; the message says about what.
    """
    output = root if output is None else output
    site = output / "_build" / "html"
    for folder in (site, output / "_build" / ".doctrees"):
        shutil.rmtree(folder, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    # jupyter-book 1 has a script but no __main__; this needs no PATH.
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(root)]
    command += ["--path-output", str(output)]
    command += ["-W", "-n", "--keep-going", "-q"]
    result = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    said = result.stdout + result.stderr
    if result.returncode:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()
        faults = [s for s in lines if re.search(r"WARNING|ERROR|rror:", s)]
        raise RuntimeError(
            "the site could not be rendered:\n"
            + "\n".join(faults or lines[-15:])
        )
    return site


def main() -> int:
    """Render the site and print the page to open."""
    print("rendering the site from the stored outputs", flush=True)
    try:
        site = build()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"open {(site / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
