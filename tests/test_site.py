"""The site as readers get it: built with warnings as errors, in a browser.

Needs Chromium. Debian and Ubuntu: `apt-get install chromium`; elsewhere
Chrome, or `python -m playwright install chromium`, will do; any other place
is named by the environment variable BOOK_BROWSER.
"""

import functools
import http.server
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tests.anatomy import toc_files
from tools import install, notebooks, serve, site

ROOT = Path(__file__).resolve().parent.parent
PAGES = [f"{name}.html" for name in toc_files(ROOT)]
EXTRA = ["search.html", "genindex.html", "404.html"]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 800}

# Displayed equations, with their numbers, that a phone would cut off or make
# scroll; those in solutions too, which are unfolded for it. A pixel may be
# rounding.
WIDE_EQUATIONS = """() => {
  document.querySelectorAll('.toggle-hidden').forEach(
    e => e.classList.remove('toggle-hidden'));
  document.querySelectorAll('details').forEach(e => { e.open = true; });
  return [...document.querySelectorAll('div.math')].map(e => {
    const parts = [e.querySelector('mjx-math'), e.querySelector('.eqno')];
    const width = parts.reduce(
      (sum, part) => sum + (part ? part.getBoundingClientRect().width : 0), 0);
    return [e.id || e.textContent, Math.round(width - e.clientWidth)];
  }).filter(([, beyond]) => beyond > 1);
}"""


def answers(program):
    """Whether a program can be started at all."""
    try:
        result = subprocess.run(
            [program, "--version"], capture_output=True, check=False
        )
    except OSError:
        return False
    return result.returncode == 0


def browser_program():
    """Where a Chromium is, or None."""
    named = os.environ.get("BOOK_BROWSER")
    found = [named] if named else map(shutil.which, install.BROWSERS)
    for program in found:
        # Ubuntu has a stub of this name that only tells how to get it.
        if program and answers(program):
            return program
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The site, built from nothing with warnings as errors."""
    return site.build(ROOT, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def address(built):
    """A server on loopback that shows the site as `make serve` does."""
    handler = functools.partial(serve.Handler, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    program = browser_program()
    if program is None:
        pytest.skip(
            "no Chromium: `apt-get install chromium`, or `python -m "
            "playwright install chromium`, or BOOK_BROWSER=where-it-is"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=FLAGS
        )
        yield chromium
        chromium.close()


class Visit:
    """A page in the browser, and everything that went wrong on it."""

    def __init__(self, browser, address, **settings):
        self.address, self.faults = address, []
        self.context = browser.new_context(**settings)
        self.context.route("**/*", self.only_from_here)
        self.page = self.context.new_page()
        self.page.on("console", self.on_console)
        self.page.on("pageerror", lambda e: self.faults.append(f"error: {e}"))
        self.page.on("response", self.on_response)

    def only_from_here(self, route):
        url = route.request.url
        if url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.faults.append(f"a request leaves: {url}")
            route.abort()

    def on_console(self, message):
        # The test of a missing page asks for one on purpose.
        expected = "404" in message.text and "no-such-page" in self.page.url
        if message.type in ("error", "warning") and not expected:
            self.faults.append(f"console: {message.text}")

    def on_response(self, response):
        missing_on_purpose = "no-such-page" in response.url
        if response.status >= 400 and not missing_on_purpose:
            self.faults.append(f"{response.status}: {response.url}")

    def open(self, name):
        self.page.goto(self.address + name, wait_until="networkidle")
        # MathJax typesets after the page has loaded.
        self.page.wait_for_function(
            "!window.MathJax || MathJax.startup.promise.then(() => true)"
        )
        return self.page


@pytest.fixture
def visit(browser, address):
    visits = []

    def begin(**settings):
        visits.append(Visit(browser, address, **settings))
        return visits[-1]

    yield begin
    faults = [fault for one in visits for fault in one.faults]
    for one in visits:
        one.context.close()
    assert not faults, faults


def without_horizontal_scroll(page):
    return page.evaluate(
        "document.documentElement.scrollWidth <= window.innerWidth"
    )


@pytest.mark.parametrize("name", PAGES + EXTRA)
def test_page(visit, name):
    """Nothing leaves, nothing fails, all math is typeset, no image broken."""
    one = visit(viewport=PHONE)
    page = one.open(name)
    assert not one.faults, one.faults
    bad_math = page.evaluate(
        "[...document.querySelectorAll('.math')].filter(e =>"
        " !e.querySelector('mjx-container') || e.querySelector('mjx-merror'))"
        ".map(e => e.textContent)"
    )
    assert not bad_math, bad_math
    raw_math = page.evaluate(
        "[...document.querySelectorAll('article p, article li')].map(e =>"
        " e.innerText).filter(t => /\\$\\$|\\\\frac|\\\\sum/.test(t))"
    )
    assert not raw_math, raw_math
    images = page.evaluate(
        "[...document.querySelectorAll('article img')].map(e =>"
        " [e.getAttribute('alt') || '', e.naturalWidth])"
    )
    for alternative, width in images:
        assert width > 0, f"an image of {name} is broken"
        assert len(alternative) >= 20, f"an image of {name} has no text"
    assert without_horizontal_scroll(page), f"{name} scrolls sideways"
    wide = page.evaluate(WIDE_EQUATIONS)
    assert not wide, f"wider than a phone, split them: {wide}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES + EXTRA)
def test_accessibility(visit, name, scheme):
    """Axe's WCAG 2.2 A and AA rules, with every folded part open."""
    one = visit(viewport=DESKTOP, color_scheme=scheme)
    page = one.open(name)
    page.evaluate(
        "document.querySelectorAll('details').forEach(e => e.open = true)"
    )
    check_with_axe(page, f"{name}, {scheme}")


def check_with_axe(page, where):
    options = {"runOnly": {"type": "tag", "values": RULES}}
    # Loading style sheets again serves only an experimental rule.
    options["preload"] = False
    results = Axe().run(page, options=options).response
    assert results["passes"], f"axe checked nothing on {where}"
    found = [
        f"{violation['id']}: {node['target']}: {node['failureSummary']}"
        for violation in results["violations"]
        for node in violation["nodes"]
    ]
    assert not found, f"{where}:\n" + "\n".join(found[:10])


@pytest.mark.parametrize(
    "name", PAGES[:1] + ["chapters/01_tensors/tensors.html"]
)
def test_accessibility_on_a_phone(visit, name):
    one = visit(viewport=PHONE)
    check_with_axe(one.open(name), f"{name} on a phone")


def test_every_link_and_image_leads_somewhere(built):
    """Every relative link of every page, anchors too."""
    broken = []
    for file in sorted(built.rglob("*.html")):
        if "_static" in file.relative_to(built).parts:
            continue
        text = file.read_text(encoding="utf-8")
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            if re.match(r"[a-z]+:|//|/|javascript", target):
                continue
            path, _, anchor = target.partition("#")
            path = path.partition("?")[0]
            other = (file.parent / path).resolve() if path else file
            if not other.exists():
                broken.append(f"{file.name}: {target}")
            elif anchor and other.suffix == ".html":
                words = other.read_text(encoding="utf-8")
                if f'id="{anchor}"' not in words:
                    broken.append(f"{file.name}: {target}")
    assert not broken, broken


def test_nothing_is_loaded_from_another_host(built):
    """In the source too, for what a browser loads only at a click."""
    loaded = re.compile(
        r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=\"(?:https?:)?//"
        r"|<link\b(?=[^>]*stylesheet)[^>]*href=\"(?:https?:)?//"
    )
    for file in sorted(built.rglob("*.html")):
        if "_static" not in file.relative_to(built).parts:
            found = loaded.search(file.read_text(encoding="utf-8"))
            assert not found, f"{file.name}: {found}"


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("broadcasting", "tensors"),
        ("Bayes", "probability"),
        ("梯度", "glossary"),
    ],
)
def test_search_finds(visit, words, page):
    one = visit(viewport=DESKTOP)
    shown = one.open(f"search.html?q={words}")
    shown.wait_for_selector("#search-results li a", timeout=15_000)
    links = shown.eval_on_selector_all(
        "#search-results li a", "all => all.map(a => a.href)"
    )
    assert any(page in link for link in links), links
    assert not one.faults, one.faults


def test_search_finds_nothing_for_nonsense(visit):
    shown = visit(viewport=DESKTOP).open("search.html?q=qqxzzyv")
    shown.wait_for_function(
        "document.querySelector('#search-results').innerText.includes('did "
        "not match')",
        timeout=15_000,
    )
    assert not shown.query_selector("#search-results li a")


def test_dark_mode(visit):
    def background(scheme):
        page = visit(viewport=DESKTOP, color_scheme=scheme).open("index.html")
        color = page.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        return sum(map(int, re.findall(r"\d+", color)[:3]))

    assert background("dark") < 3 * 60 < 3 * 200 < background("light")


def test_the_button_changes_the_color_scheme(visit):
    page = visit(viewport=DESKTOP, color_scheme="light").open("index.html")
    theme = "document.documentElement.dataset.theme"
    seen = {page.evaluate(theme)}
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add(page.evaluate(theme))
    assert seen == {"light", "dark"}


LESSON = "chapters/01_tensors/tensors.html"


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_a_solution_is_folded_and_opens(visit, how):
    page = visit(viewport=PHONE).open(LESSON)
    fold = page.locator("details.solution").first
    code = fold.locator("div.cell_input").first
    assert not code.is_visible()
    if how == "mouse":
        fold.locator("summary").first.click()
    else:
        fold.locator("summary").first.focus()
        page.keyboard.press("Enter")
    code.wait_for(state="visible", timeout=5_000)


def test_every_exercise_has_its_solution_on_the_page(visit):
    page = visit(viewport=DESKTOP).open(LESSON)
    exercises = page.locator("div.exercise").count()
    assert exercises >= 3
    assert page.locator("details.solution").count() == exercises


def test_reading_order_and_tools(visit):
    page = visit(viewport=DESKTOP).open(LESSON)
    assert page.locator("a.right-next").count() == 1
    assert page.locator("a.left-prev").count() == 1
    cells = page.locator("div.cell_input").count()
    assert page.locator("div.cell_input button.copybtn").count() == cells
    assert page.locator("figure figcaption").count() >= 2


def test_a_copy_button_copies(visit):
    one = visit(viewport=DESKTOP)
    one.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = one.open(LESSON)
    cell = page.locator("div.cell_input").first
    cell.hover()
    cell.locator("button.copybtn").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == cell.locator("pre").inner_text().strip()


def test_a_notebook_can_be_downloaded(visit, built):
    page = visit(viewport=DESKTOP).open(LESSON)
    link = page.locator("a[href$='.ipynb']").first.get_attribute("href")
    file = (built / LESSON).parent / link
    source = notebooks.all_pages()["01_tensors/tensors"]
    assert file.read_bytes() == source.read_bytes()


def test_a_missing_page_says_so(visit):
    one = visit(viewport=DESKTOP)
    page = one.open("deep/down/no-such-page.html")
    assert "Page not found" in page.inner_text("article h1")
    page.get_by_role("link", name="first page").click()
    assert page.url == f"{one.address}index.html"


def test_the_map_of_the_book(visit):
    page = visit(viewport=PHONE).open("index.html")
    boxes = page.locator("nav.book-map li")
    assert boxes.count() == 13
    assert page.locator("nav.book-map a[href*='01_tensors']").count() == 1
    written = len(list((ROOT / "chapters").glob("*/index.md")))
    planned = boxes.filter(has_text="planned").count()
    assert planned == boxes.count() - written
    assert page.locator("nav.book-map svg path").count() >= 12


def test_buttons_appear_only_when_the_repository_is_known(
    built, tmp_path, monkeypatch
):
    repository = "https://code.example/team/book"
    plain = (built / LESSON).read_text(encoding="utf-8")
    assert "binder" not in plain.lower() and "colab" not in plain.lower()
    assert "jupyter-book/jupyter-book" not in plain
    monkeypatch.setenv("BOOK_REPOSITORY_URL", repository)
    monkeypatch.setenv("BOOK_BINDER_URL", "https://hub.example")
    told = (site.build(ROOT, tmp_path) / LESSON).read_text(encoding="utf-8")
    assert repository in told and "https://hub.example" in told


def test_a_warning_stops_the_build(tmp_path):
    """The build's own proof: a reference to nowhere must not get through."""
    for name in ("_config.yml", "_toc.yml", "index.md", "references.bib"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("_ext", "about", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n- file: about/references\n",
        encoding="utf-8",
    )
    (tmp_path / "index.md").write_text(
        "# Home\n\nSee {eq}`nowhere`.\n", encoding="utf-8"
    )
    with pytest.raises(RuntimeError, match="nowhere"):
        site.build(tmp_path, tmp_path / "out")
