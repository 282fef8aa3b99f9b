"""The site as a visitor has it: from the disk or a server, on a desk or a phone, light or dark."""

from __future__ import annotations

import functools
import http.server
import importlib.resources
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from labdriver import CHROMIUM_FLAGS, LOOK
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from course_lib.lessons.sliders.static import MIME
from tools import build_site as tool

ROOT = Path(__file__).parents[2]
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
# By design: 2b goes on from 2a, which has one, and 6 is about the reader's own model.
WITHOUT_SLIDERS = {"02b_structured_transformers", "06_your_own_model"}
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
# The checker reads style sheets again by a request, which a browser refuses for files on the disk.
# What passes need not be described, which takes most of the time.
AXE = """tags => axe.run(document, {
    runOnly: tags, preload: false, resultTypes: ["violations"], selectors: false,
}).then(
    found => found.violations.map(one => [one.id, one.nodes.map(node => node.html.slice(0, 200))]))"""
# The checker takes minutes for the instructors' 900 rows, and a table's rows are built alike.
FEW_ROWS = "document.querySelectorAll('tbody tr:nth-child(n + 9)').forEach(row => row.remove())"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once for this file."""
    out = tmp_path_factory.mktemp("built") / "site"
    before = os.times()
    tool.build(out)
    # Of the processor, with Sphinx's own process: on a quiet machine that is what a person waits.
    seconds = sum(os.times()[:4]) - sum(before[:4])
    assert seconds < 120, f"the site took {seconds:.0f} seconds"
    return out


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[str]:
    """The address of a server that shows the site."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield running
        running.close()


class Visit:
    """A page that notes what it asks for and what goes wrong."""

    def __init__(self, browser: Browser, home: str, size: dict, dark: bool = False) -> None:
        self.home, self.asked, self.troubles = home, [], []
        scheme = "dark" if dark else "light"
        self.page: Page = browser.new_page(viewport=size, color_scheme=scheme)
        self.page.set_default_timeout(120_000)  # milliseconds: the machine may be busy
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", self.note)

    def note(self, message) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(message.text)

    def open(self, name: str) -> Page:
        self.page.goto(f"{self.home}/{name}")
        self.page.wait_for_load_state("load")
        return self.page

    def wrongs(self) -> list[str]:
        """Requests to another host, what the console said, and a page wider than the window."""
        found = [u for u in self.asked if not u.startswith((self.home, "data:", "blob:"))]
        found += self.troubles
        self.asked, self.troubles = [], []
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return found + [f"{wide} pixels wider than the window"] * (wide > 1)

    def check(self) -> None:
        assert self.wrongs() == []


def stored_sliders() -> dict[str, list]:
    """Lesson → the states of each of its sliders."""
    found = {}
    for lesson in LESSONS:
        cells = nbformat.read(ROOT / "notebooks" / f"{lesson}.ipynb", as_version=4).cells
        data = [one.get("data", {}) for cell in cells for one in cell.get("outputs", [])]
        found[lesson] = [one[MIME] for one in data if MIME in one]
    return {lesson: sliders for lesson, sliders in found.items() if sliders}


# --------------------------------------------------------------------------- without a browser


class Links(HTMLParser):
    """What a page links to or loads, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = dict(attrs)
        self.places |= {values.get("id", ""), values.get("name", "") if tag == "a" else ""}
        for name in ("href", "src"):
            if name in values:
                loads = name == "src" or tag == "link"
                (self.loads if loads else self.links).append(values[name] or "")


def test_every_link_of_the_site_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    pages = {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    wrong = []
    for path, found in pages.items():
        if path.parent.name == "_static":  # pieces of the theme
            continue
        wrong += [
            f"{path.name} loads {load}"
            for load in found.loads
            if re.match(r"\w+:|//", load) and not load.startswith("data:")
        ]
        for link in {*found.links, *found.loads}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                wrong.append(f"{path.relative_to(site)}: {link}")
            elif target in pages and unquote(parts.fragment) not in {"", *pages[target].places}:
                wrong.append(f"{path.relative_to(site)}: {link} (no such place)")
    assert not wrong


def test_all_pages_are_there_and_in_the_navigation(site):
    home = (site / "index.html").read_text("utf-8")
    for lesson in LESSONS:
        for folder in ("notebooks", "exercises", "solutions"):
            if (ROOT / folder / f"{lesson}.ipynb").exists():
                assert f'href="{folder}/{lesson}.html"' in home
    for page in tool.DOCS:
        assert f'href="docs/{page}.html"' in home
    text = (site / "notebooks" / f"{LESSONS[0]}.html").read_text("utf-8")
    assert 'rel="next"' in text or "next-page" in text


def test_the_chart_library_is_there_once_and_a_lesson_stores_few_states(site):
    texts = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    assert not any("vegaEmbed" in text for text in texts.values())
    assert (site / "_static" / "sliders.js").stat().st_size < 1_100_000
    for lesson in stored_sliders():
        text = texts[site / "notebooks" / f"{lesson}.html"]
        states = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
        assert states and "sliders.js" in text
        assert sum(len(one.encode()) for one in states) <= 300_000, lesson
    others = [
        t for p, t in texts.items() if "course-slider" not in t and p.parent.name != "_static"
    ]
    assert others and not any("sliders.js" in text for text in others)


def test_every_picture_says_what_it_shows(site):
    for path in (site / "notebooks").glob("*.html"):
        text = path.read_text("utf-8")
        assert "data:image/png" not in text
        assert not re.findall(r'<img class="course-picture"[^>]* alt=""', text), path.name


def test_setup_is_folded_answers_are_folded_and_formulas_need_no_script(site):
    text = (site / "notebooks" / "01_pruning_basics.html").read_text("utf-8")
    folded = re.findall(r"<details.*?</details>", text, re.DOTALL)
    assert any("prepare_process" in one for one in folded)
    assert sum("<summary>Answer</summary>" in one for one in folded) >= 3
    assert "<math" in text and "MathJax" not in text
    assert "Run it yourself" in text and "mybinder" not in text


def test_the_same_files_give_the_same_site(site, tmp_path):
    tool.build(tmp_path / "again")
    first = {p.relative_to(site): p.read_bytes() for p in site.rglob("*") if p.is_file()}
    again = tmp_path / "again"
    second = {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


# ------------------------------------------------------------------------------ with a browser


def test_every_lesson_but_2b_and_6_has_a_slider():
    assert set(LESSONS) - set(stored_sliders()) == WITHOUT_SLIDERS


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("where", ["disk", "server"])
def test_the_sliders_move_number_and_picture(browser, site, server, where, size):
    visit = Visit(browser, site.as_uri() if where == "disk" else server, size)
    pages = {f"notebooks/{lesson}": sliders for lesson, sliders in stored_sliders().items()}
    pages["docs/try"] = pages[f"notebooks/{LESSONS[0]}"][:1]
    for name, sliders in pages.items():
        page = visit.open(f"{name}.html")
        assert page.locator(".course-slider").count() == len(sliders)
        for i, stored in enumerate(sliders):
            root = page.locator(".course-slider").nth(i)
            root.scroll_into_view_if_needed()
            root.locator(".course-chart svg[role=img]").wait_for()
            controls = root.locator("input[type=range], select")
            for j, control in enumerate(stored["controls"]):
                if len(control["labels"]) > 1:
                    before = looked(root)
                    move(controls.nth(j))
                    # The description is written after the picture has been drawn anew.
                    other = f"svg[role=img]:not([aria-label={json.dumps(before['alt'])}])"
                    root.locator(f".course-chart {other}").wait_for()
                    after = looked(root)
                    same = [part for part in before if before[part] == after[part]]
                    assert not same, f"{name}, {control['name']}: the same {same}"
        visit.check()


def test_binders_page_of_one_slider_moves_without_a_kernel(browser, lab):
    """Jupyter's server shows it as Binder does, in a sandbox."""
    (lab.folder / "try.html").write_text(tool.try_page(), "utf-8")
    visit = Visit(browser, lab.url, DESK)
    page = visit.open(f"files/try.html?token={lab.token}")
    root = page.locator(".course-slider")
    root.locator(".course-chart svg[role=img]").wait_for()
    before = looked(root)
    move(root.locator("input"))
    root.locator(f"svg[role=img]:not([aria-label={json.dumps(before['alt'])}])").wait_for()
    assert looked(root)["chart"] != before["chart"]
    visit.check()


def looked(root) -> dict[str, str]:
    """What a person sees of a slider, without the numbers that Vega gives to its clipping paths."""
    look = root.evaluate(LOOK)
    return look | {"chart": re.sub(r"\bclip\d+", "clip", look["chart"])}


def move(control) -> None:
    """One step to the right, or to the left where it stands at the end."""
    if control.evaluate("one => one.tagName") == "SELECT":
        at = control.evaluate("one => one.selectedIndex")
        control.select_option(index=at - 1 if at else 1)
    else:
        at_the_end = control.evaluate("one => one.value === one.max")
        control.press("ArrowLeft" if at_the_end else "ArrowRight")


@pytest.mark.parametrize("where", ["disk", "server"])
def test_the_search_finds_temperature(browser, site, server, where):
    visit = Visit(browser, site.as_uri() if where == "disk" else server, DESK)
    page = visit.open("index.html")
    page.keyboard.press("Control+k")
    page.locator("dialog input[type=search], .search-button__search-container input").first.fill(
        "temperature"
    )
    page.keyboard.press("Enter")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    assert "Solution" not in " ".join(results.all_inner_texts())
    page.locator("#search-results li a", has_text="Lesson").first.click()
    page.wait_for_load_state("load")
    assert page.title().startswith("Lesson")
    visit.check()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("where", "size", "dark"),
    [("disk", DESK, False), ("server", PHONE, True)],
    ids=["desk, light, disk", "phone, dark, server"],
)
def test_on_every_page_nothing_is_wrong_and_the_accessibility_checker_finds_nothing(
    browser, site, server, where, size, dark, tmp_path
):
    checker = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    visit = Visit(browser, site.as_uri() if where == "disk" else server, size, dark)
    found = {}
    for path in sorted(site.rglob("*.html")):
        name = path.relative_to(site).as_posix()
        if name.startswith("_"):  # pieces of the theme
            continue
        page = visit.open(name)
        if page.locator(".course-slider").count():
            page.locator(".course-slider input, .course-slider select").first.wait_for()
        page.screenshot(path=tmp_path / f"{name.replace('/', '_')}.png")
        wrong = visit.wrongs()
        page.evaluate(FEW_ROWS)
        page.evaluate(checker)
        wrong += page.evaluate(AXE, LEVELS)
        found |= {name: wrong} if wrong else {}
    assert not found


def test_a_button_copies_the_code(browser, site, server):
    visit = Visit(browser, server, DESK)
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.open("notebooks/01_pruning_basics.html")
    cell = page.locator("div.cell_input div.highlight", has=page.locator(".copybtn:visible")).last
    cell.hover()
    cell.locator(".copybtn").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() and copied.strip() == cell.locator("pre").inner_text().strip()
    visit.check()


def test_the_readmes_picture_leads_to_the_slider(browser, site):
    visit = Visit(browser, site.as_uri(), DESK)
    page = visit.open("index.html")
    page.locator("img[src$='headline.svg']").click()
    page.wait_for_url("**/docs/try.html")
    page.locator(".course-slider input").wait_for()
    visit.check()


def test_a_visitor_chooses_light_or_dark_and_goes_on_to_the_next_page(browser, site):
    visit = Visit(browser, site.as_uri(), DESK)
    page = visit.open(f"notebooks/{LESSONS[0]}.html")
    for mode in ("Dark", "Light"):
        page.locator("button.theme-switch-button:visible").click()
        page.locator("button.theme-change-button:visible", has_text=mode).click()
        assert page.locator("html").get_attribute("data-theme") == mode.lower()
    page.locator("a.right-next").click()
    page.wait_for_load_state("load")
    assert LESSONS[1] in page.url
    visit.check()


def test_a_term_leads_to_its_sentence_in_the_glossary(browser, site):
    visit = Visit(browser, site.as_uri(), DESK)
    page = visit.open("notebooks/01_pruning_basics.html")
    page.get_by_role("link", name="importance score", exact=True).first.click()
    page.wait_for_load_state("load")
    assert page.url.endswith("docs/glossary.html#term-importance-score")
    assert (
        "importance score"
        in page.locator("#importance-score, #term-importance-score").first.inner_text()
    )
    visit.check()
