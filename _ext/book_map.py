"""The directive {book-map}: the chapters, and which needs which, drawn.

Its body is YAML, a list of chapters in reading order, each with

    folder: its folder in chapters/
    title:  its short title
    needs:  the folders of the chapters it builds on
    column: 1, 2 or 3

A chapter stands one row below the lowest chapter that it needs. One that is
in the toc is a link; the others say that they are planned. The boxes are a
list of links for every reader; the lines between them are drawn as SVG
behind it, and are said in words to those who cannot see them.
"""

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

COLUMNS = 3
# In the drawing a cell is 100 by 100; its box leaves this much free above
# and below. The same share is in book.css.
GAP = 14

logger = logging.getLogger(__name__)


class map_node(nodes.General, nodes.Element):
    """The map: a drawing, and a list of boxes over it."""


class box_node(nodes.General, nodes.Element):
    """A chapter's box in the map."""


class BookMap(SphinxDirective):
    """See the top of this file. The argument names the map."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self):
        self.env.note_dependency(f"{self.env.srcdir}/_toc.yml")
        chapters = yaml.safe_load("\n".join(self.content))
        places = self.place(chapters)
        in_toc = {
            document.split("/")[1]
            for document in self.env.found_docs
            if document.startswith("chapters/")
        }
        for folder in sorted(in_toc - set(places)):
            self.warn(f"chapters/{folder} is in the toc, not in the map")
        titles = {c["folder"]: c["title"] for c in chapters}
        result = map_node(
            label=self.arguments[0],
            rows=max((row for row, _ in places.values()), default=0),
            lines=[
                (places[n], places[c["folder"]], c["folder"] not in in_toc)
                for c in chapters
                for n in c["needs"]
            ],
        )
        for chapter in chapters:
            folder, name = chapter["folder"], chapter["title"]
            planned = folder not in in_toc
            box = box_node(place=places[folder], planned=planned)
            if planned:
                words = [name, "", "planned"]
            else:
                words = [f"{{doc}}`{name} </chapters/{folder}/index>`"]
            if chapter["needs"]:
                needs = ", ".join(titles[n] for n in chapter["needs"])
                words += ["", "{.visually-hidden}", f"(needs: {needs})"]
            source = StringList(words, self.get_source_info()[0])
            self.state.nested_parse(source, self.content_offset, box)
            result += box
        self.set_source_info(result)
        return [result]

    def place(self, chapters):
        """(row, column) of each chapter, by folder."""
        places = {}
        for chapter in chapters:
            folder, column = chapter["folder"], chapter["column"]
            rows = [0]
            for need in chapter["needs"]:
                if need not in places:
                    raise self.error(f"{folder} needs {need}, not above it")
                rows.append(places[need][0])
            place = (max(rows) + 1, column)
            if place in places.values() or not 1 <= column <= COLUMNS:
                raise self.error(f"{folder}: no free box at {place}")
            places[folder] = place
        return places

    def warn(self, message):
        logger.warning(message, location=self.get_location())


def line_path(start, end):
    """A curve down from one box to another, in the drawing's units.

    It bends in the gap below the first box, then runs straight down.
    """
    (row, column), (last_row, last_column) = start, end
    x, last_x = 100 * column - 50, 100 * last_column - 50
    top, bend = 100 * row - GAP, 100 * row + GAP
    last = 100 * (last_row - 1) + GAP
    middle = 100 * row
    return f"M{x} {top}C{x} {middle} {last_x} {middle} {last_x} {bend}V{last}"


def open_map(self, node):
    width, height = 100 * COLUMNS, 100 * node["rows"]
    paths = "".join(
        f"<path{' class=planned' if planned else ''}"
        f' d="{line_path(start, end)}"/>'
        for start, end, planned in node["lines"]
    )
    label = self.attval(node["label"])
    self.body.append(
        f'<nav class="book-map" aria-label="{label}">\n'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none"'
        f' aria-hidden="true" focusable="false">{paths}</svg>\n'
        '<ol role="list">\n'
    )


def close_map(self, node):
    self.body.append("</ol>\n</nav>\n")


def open_box(self, node):
    row, column = node["place"]
    state = ' class="planned"' if node["planned"] else ""
    self.body.append(f'<li{state} style="grid-area: {row} / {column}">')


def close_box(self, node):
    self.body.append("</li>\n")


def skip(self, node):
    raise nodes.SkipNode


def setup(app):
    app.add_directive("book-map", BookMap)
    app.add_node(map_node, html=(open_map, close_map), latex=(skip, None))
    app.add_node(box_node, html=(open_box, close_box), latex=(skip, None))
