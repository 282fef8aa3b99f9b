"""Each link in the README, the documents and the notebooks leads to a file, and to a heading in it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("notebooks", "exercises", "solutions")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
PAGES += [path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/*.ipynb"))]
LABS = sorted(ROOT.glob("solutions/src/*.py"))
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def text_of(path: Path) -> str:
    """The Markdown of a page."""
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def headings(path: Path) -> set[str]:
    """The places that a link may name, as code hosts make them of headings."""
    titles = re.findall(r"^#+ +(.*)$", text_of(path), re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", re.sub(r"[*`]", "", title).lower()) for title in titles]
    return {title.replace(" ", "-") for title in words}


def numbered(text: str) -> list[str]:
    """Where a text names a lesson's section by its number; "2015, section 3" is a paper's."""
    return re.findall(r"(?<!\d, )\bsections? \d+", text, re.IGNORECASE)


def broken(page: Path, root: Path = ROOT) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", text_of(page))):
        if re.match(r"\w+:", link):
            if not re.match(r"https://[\w.-]+(/|$)|mailto:", link):
                found.append(link)
            continue
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.exists() and target.is_relative_to(root)
        has_places = inside and target.suffix in (".md", ".ipynb")
        if not inside or (place and has_places and place not in headings(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    assert broken(page) == []


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_a_lab_links_to_a_heading_and_names_no_number_of_a_section(lab):
    """Sections are renumbered. Whether a linked heading exists is checked above; a number is not."""
    assert numbered(lab.read_text("utf-8")) == []


def test_a_number_of_a_section_would_be_seen():
    text = (
        "See section 4 of lesson 3, [a text](x.ipynb#4--text), Hinton 2015, section 2. Section 12."
    )
    assert numbered(text) == ["section 4", "Section 12"]


def test_a_broken_link_would_be_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One two\n\n[a](gone.md) [b](#one-two) [c](#three) `[d](e.md)` [f](http://a.b)\n"
    )
    assert broken(page, tmp_path) == ["gone.md", "#three", "http://a.b"]
