// What the pages need and CSS cannot do.

// What scrolls sideways must be reachable by the Tab key (the theme sees to
// code, but not to mathematics and tables), and only while it scrolls.
const scrollers =
  ".bd-article :is(mjx-container[display], .pst-scrollable-table-container)";

function markScrollers() {
  for (const box of document.querySelectorAll(scrollers)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

window.addEventListener("load", () => {
  markScrollers();
  window.MathJax?.startup?.promise?.then(markScrollers);
});
window.addEventListener("resize", markScrollers);

// Paper is white and cannot unfold: print in light colors with all solutions
// open, and put everything back after.
window.addEventListener("beforeprint", () => {
  const page = document.documentElement;
  page.dataset.printed = page.dataset.theme;
  page.dataset.theme = "light";
  for (const fold of document.querySelectorAll("details:not([open])")) {
    fold.dataset.closed = "";
    fold.open = true;
  }
});
window.addEventListener("afterprint", () => {
  const page = document.documentElement;
  page.dataset.theme = page.dataset.printed;
  for (const fold of document.querySelectorAll("details[data-closed]")) {
    delete fold.dataset.closed;
    fold.open = false;
  }
});

// Search results quote a page's text, not the buttons and lists around it.
if (typeof Search !== "undefined") {
  const textOf = Search.htmlToText;
  Search.htmlToText = (source, anchor) => {
    const page = new DOMParser().parseFromString(source, "text/html");
    const around = ".bd-header-article, #jb-print-docs-body, .bd-toc, footer";
    page.querySelectorAll(around).forEach((part) => part.remove());
    for (const math of page.querySelectorAll(".math"))
      math.textContent = math.textContent.replace(/\\[()[\]]/g, "");
    return textOf(page.documentElement.outerHTML, anchor);
  };
}
