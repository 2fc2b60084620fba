"""The book's Sphinx extension: what _config.yml cannot say.

It sets what depends on the environment, keeps of MathJax what pages use,
finds Chinese words in the search, folds solutions, and mends what the
themes leave inaccessible (MENDS below, and static/book.css and book.js).
"""

import html
import os
import re
from pathlib import Path

import book_costs
import book_map
import book_results
import pybtex.plugin
from docutils import nodes
from pybtex.style.formatting.unsrt import Style as UnsortedStyle
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.sorting import BaseSortingStyle
from sphinx import addnodes
from sphinx.search.en import SearchEnglish
from sphinx_exercise.nodes import solution_node

HERE = Path(__file__).resolve().parent

# The page for an address that leads nowhere. Its links must start at the
# site's root, because it is shown at any depth.
NOT_FOUND = """\
<h1>Page not found</h1>
<p>There is no page at this address. It may have moved. Search for it, or
start again from the <a href="{home}index.html">first page</a>.</p>
"""

# What the published pages need of MathJax: the one script, its fonts, and
# the extensions that \cancel, \color and the like load by themselves.
MATHJAX_KEPT = (
    "tex-chtml.js",
    "input/tex/extensions",
    "output/chtml/fonts/woff-v2",
)

# Faults of the themes that only a change of the finished HTML mends.
# Each is a pattern and its replacement, and may be applied twice.
MENDS = [
    # The arrows that fold the sidebar have no name.
    (
        r'<summary>(?=<span class="toctree-toggle")',
        '<summary aria-label="Pages of this chapter">',
    ),
    # A list that holds its entries' anchors too is no ARIA list, and the
    # role of its entries is deprecated.
    (r' role="list"(?= class="citation-list")', ""),
    (r' role="doc-biblioentry"', ""),
    # A line may break between a formula and its bracket or period.
    (
        r'(?<!<span class="nobreak">)(?<!<span class="nobreak">\()'
        r'(\(?<span class="math notranslate nohighlight">[^<]*</span>'
        r"[.,;:!?)]+)",
        r'<span class="nobreak">\1</span>',
    ),
    # A term runs into its definition, where a search shows them.
    (r"</dt><dd>", "</dt>\n<dd>"),
    # Chinese words do not say that they are Chinese.
    (
        r"<(dt|a|span)\b(?![^>]*\blang=)([^>]*>)(?=[\u4e00-\u9fff])",
        r'<\1 lang="zh-Hans"\2',
    ),
]


def configure(app, config):
    """Settings that depend on the environment, before the theme's own.

    BOOK_URL_PREFIX: where the site lies on its host, "/" or "/book/".
    BOOK_REPOSITORY_URL, and BOOK_REPOSITORY_BRANCH ("main"): show a button
    to the repository; BOOK_BINDER_URL and BOOK_COLAB_URL launch buttons too.
    """
    config.html_static_path = [*config.html_static_path, str(HERE / "static")]
    prefix = os.environ.get("BOOK_URL_PREFIX", "/")
    config.notfound_urls_prefix = prefix
    config.notfound_context = {
        "title": "Page not found",
        "body": NOT_FOUND.format(home=html.escape(prefix)),
    }
    options = dict(config.html_theme_options or {})
    options["logo"] = {"text": config.html_title}
    # The copyright names the authors.
    options["footer_content_items"] = ["copyright.html"]
    # The theme would put a second search box into an empty bar above.
    options["navbar_persistent"] = []
    # jupyter-book's default is its own repository, so unset what is unknown.
    options["launch_buttons"] = {}
    for name in ("repository_url", "repository_branch", "path_to_docs"):
        options.pop(name, None)
    if url := os.environ.get("BOOK_REPOSITORY_URL", "").rstrip("/"):
        options["repository_url"] = url
        options["repository_branch"] = os.environ.get(
            "BOOK_REPOSITORY_BRANCH", "main"
        )
        # A host that the theme does not know is taken for one like GitHub.
        known = (name for name in ("gitlab", "bitbucket") if name in url)
        options["repository_provider"] = next(known, "github")
        options["use_repository_button"] = True
        options["launch_buttons"] = {
            "notebook_interface": "jupyterlab",
            "binderhub_url": os.environ.get("BOOK_BINDER_URL", ""),
            "colab_url": os.environ.get("BOOK_COLAB_URL", ""),
        }
    config.html_theme_options = options


def add_index_to_toc(app, doctree):
    """Put the generated index last in the toc, which cannot name it."""
    if app.env.docname == app.config.root_doc:
        trees = list(doctree.findall(addnodes.toctree))
        trees[-1]["entries"].append((None, "genindex"))


def honor_heading_levels(app, doctree):
    """Let a rubric be a heading: MyST writes it and overlooks its level."""
    for rubric in doctree.findall(nodes.rubric):
        if "heading-level" in rubric:
            rubric["level"] = rubric["heading-level"]


def author_year(entry):
    """How pages cite a work: Hinton et al., 2006."""
    people = entry.persons.get("author") or entry.persons["editor"]
    names = [" ".join(p.prelast_names + p.last_names) for p in people]
    who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    return re.sub(r"[{}]", "", f"{who}, {entry.fields['year']}")


class AuthorYearLabel(BaseLabelStyle):
    """Label a reference in the words of its citation."""

    def format_labels(self, sorted_entries):
        used = set()
        for entry in sorted_entries:
            first = label = author_year(entry)
            letters = iter("bcdefghijklmnopqrstuvwxyz")
            while label in used:
                label = first + next(letters)
            used.add(label)
            yield label


class AuthorYearOrder(BaseSortingStyle):
    """Sort references as they are labelled."""

    def sort(self, entries):
        return sorted(entries, key=lambda e: author_year(e).lower())


class AuthorYear(UnsortedStyle):
    """References sorted and labelled by author and year."""

    default_label_style = AuthorYearLabel
    default_sorting_style = AuthorYearOrder


class EnglishAndChinese(SearchEnglish):
    """English search that also finds Chinese words, as pairs of characters.

    Chinese has no spaces, so both the index and the query are cut into
    overlapping pairs: a phrase is found where all its pairs are.
    """

    js_splitter_code = r"""
var splitQuery = (query) =>
  (query.match(/[\u3400-\u9fff]+|((?![\u3400-\u9fff])[\p{L}\p{N}_])+/gu) || [])
    .flatMap((word) => /^[\u3400-\u9fff]{3}/.test(word)
      ? [...word].slice(1).map((_, i) => word.slice(i, i + 2)) : [word]);
"""

    def split(self, text):
        words = []
        for word in re.findall(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff]+", text):
            if len(word) > 2 and "\u3400" <= word[0] <= "\u9fff":
                words += [word[i : i + 2] for i in range(len(word) - 1)]
            else:
                words.append(word)
        return words


def open_solution(self, node):
    """A solution is a native <details>: it folds by mouse and by keyboard."""
    node["classes"] = [c for c in node["classes"] if c != "dropdown"]
    title = html.escape(node.pop(0).astext())
    start = self.starttag(node, "details", CLASS="admonition")
    self.body.append(f'{start}<summary class="admonition-title">')
    self.body.append(f"{title}</summary>\n")


def close_solution(self, node):
    self.body.append("</details>\n")


def finish(app, exception):
    """Prune MathJax and mend the pages, once all are written."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    mathjax = out / "_static" / "mathjax"
    for path in sorted(mathjax.rglob("*"), reverse=True):
        name = path.relative_to(mathjax).as_posix()
        if path.is_file() and not name.startswith(MATHJAX_KEPT):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for page in sorted(out.rglob("*.html")):
        if "_static" in page.relative_to(out).parts:
            continue
        before = after = page.read_text(encoding="utf-8")
        for pattern, replacement in MENDS:
            after = re.sub(pattern, replacement, after)
        if after != before:
            page.write_text(after, encoding="utf-8", newline="\n")


def setup(app):
    pybtex.plugin.register_plugin(
        "pybtex.style.formatting", "author_year", AuthorYear
    )
    app.connect("config-inited", configure, priority=100)
    app.connect("doctree-read", add_index_to_toc, priority=100)
    app.connect("doctree-read", honor_heading_levels)
    app.connect("build-finished", finish, priority=900)
    app.add_search_language(EnglishAndChinese)
    app.add_node(
        solution_node, override=True, html=(open_solution, close_solution)
    )
    app.add_css_file("book.css", priority=900)
    app.add_js_file("book.js", loading_method="defer")
    book_costs.setup(app)
    book_map.setup(app)
    book_results.setup(app)
    return {"version": "1", "parallel_read_safe": True}
