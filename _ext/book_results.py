"""The directive {full-scale-results}: measured beside published figures."""

import hashlib
import json
import statistics
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective


def code_mark(path):
    """As in benchmarks/results.py: changes with the code of a page."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    return hashlib.sha256("\n".join(code).encode()).hexdigest()[:12]


def table(records, published, marks):
    """Lines of MyST: a row a result, then what ran where.

    Args:
        marks: for each page the mark of its code today; see code_mark.

    Raises:
        ExtensionError: a published figure is of nothing that was measured.
    """
    names = ("data", "model", "measure")
    beside = {tuple(p[k] for k in names): p for p in published}
    measured = {tuple(r[k] for k in names) for r in records}
    for lost in beside.keys() - measured:
        raise ExtensionError(f"published.json: nothing measured for {lost}")
    rows = [
        "| Data, measure | Model | Measured | Published |",
        "|:--|:--|--:|:--|",
    ]
    for record in records:
        values = record["values"]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        found = f"{statistics.mean(values):.2f} ± {spread:.2f}"
        if marks.get(record["page"]) != record["code"]:
            found += " (by an earlier version of the page)"
        other = beside.get(tuple(record[k] for k in names))
        said = "–"
        if other:
            said = (
                f"{other['value']}: {other['what']} {{cite}}`{other['cite']}`"
            )
        rows.append(
            f"| {record['data']}, {record['measure']} "
            f"| {{doc}}`{record['model']} </chapters/{record['page']}>` "
            f"| {found} | {said} |"
        )
    rows += [
        "",
        "| Page | Seeds | Recorded | Machine | Python, PyTorch |",
        "|:--|--:|:--|:--|:--|",
    ]
    runs = {record["page"]: record for record in records}
    for page, record in runs.items():
        rows.append(
            f"| {{doc}}`/chapters/{page}` | {len(record['seeds'])} "
            f"| {record['recorded']} | {record['machine']} "
            f"| {record['python']}, {record['torch']} |"
        )
    return rows


class FullScaleResults(SphinxDirective):
    """Tables from benchmarks/results.json and published.json."""

    def run(self):
        source = Path(self.env.srcdir)
        read = []
        for name in ("results.json", "published.json"):
            file = source / "benchmarks" / name
            self.env.note_dependency(str(file))
            read.append(json.loads(file.read_text(encoding="utf-8")))
        records, published = read
        marks = {}
        for page in {record["page"] for record in records}:
            path = source / "chapters" / f"{page}.ipynb"
            self.env.note_dependency(str(path))
            marks[page] = code_mark(path)
        parsed = nodes.Element()
        rows = StringList(table(records, published, marks), "results.json")
        self.state.nested_parse(rows, 0, parsed)
        return parsed.children


def setup(app):
    app.add_directive("full-scale-results", FullScaleResults)
