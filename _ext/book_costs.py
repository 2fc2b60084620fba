"""The directive {page-costs}: what each page costs, as measured."""

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

FACTS = {
    "recorded": "Measured on",
    "machine": "Machine",
    "python": "Python",
    "torch": "PyTorch",
    "threads": "Threads",
}


def pages_in_order(site_map, document=None):
    """Names of all documents below one of the toc, in reading order."""
    document = document or site_map.root
    for tree in document.subtrees:
        for item in tree.items:
            if item in site_map:
                yield str(item)
                yield from pages_in_order(site_map, site_map[item])


class PageCosts(SphinxDirective):
    """Two tables from benchmarks/costs.json: the pages, and the machine.

    A page in the toc without a record is shown as not measured.
    """

    def run(self):
        source = Path(self.env.srcdir)
        file = source / "benchmarks" / "costs.json"
        for path in (file, source / "_toc.yml"):
            self.env.note_dependency(str(path))
        record = {}
        if file.exists():
            record = json.loads(file.read_text(encoding="utf-8"))
        rows = ["| Page | Time | Peak memory |", "|:--|--:|--:|"]
        for name in pages_in_order(self.env.external_site_map):
            if not self.env.doc2path(name).endswith(".ipynb"):
                continue
            page = name.removeprefix("chapters/")
            cost = record.get("pages", {}).get(page)
            if cost:
                time = f"{cost['seconds']:.0f} s"
                memory = f"{cost['peak_megabytes']:.0f} MB"
            else:
                time = memory = "not measured"
            rows.append(f"| {{doc}}`/{name}` | {time} | {memory} |")
        facts = [
            f"| {label} | {record[key]} |"
            for key, label in FACTS.items()
            if key in record
        ]
        if facts:
            rows += ["", "| Measurement | |", "|:--|:--|", *facts]
        parsed = nodes.Element()
        self.state.nested_parse(StringList(rows, str(file)), 0, parsed)
        return parsed.children


def setup(app):
    app.add_directive("page-costs", PageCosts)
