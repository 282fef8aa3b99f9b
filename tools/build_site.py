"""Build the site from the committed notebooks and documents, and execute nothing.

python tools/build_site.py [--out site]     offline; the same files give the same bytes
python tools/build_site.py --try try.html   only lesson 1's slider, as one file that needs no Sphinx

The pages stand in the site where their sources stand in the project, so that the same relative links
lead there and on a code host. Sphinx reads a copy of the sources in which sliders, pictures, folded
answers and links have been made ready for it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import nbformat
from nbformat import NotebookNode
from PIL import Image

from course_lib.lessons.sketch import SVG
from course_lib.lessons.sliders.charts import STYLE
from course_lib.lessons.sliders.static import MIME, page_script, static_html
from course_lib.lessons.sliders.static import page as page_of

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "docs" / "site"
# In this order if they are there; any other page of docs/ follows.
DOCS = [
    "try",
    "practitioners",
    "glossary",
    "claims",
    "scaling",
    "instructors",
    "hub",
    "offline",
    "install",
    "reliability",
]
# A bold word is a term unless it is a label ("Predict first."), a number, or one of these: emphasis.
EMPHASIS = set(
    """a all alone and before but choose cut distill each exercises folder found in measure no not now
    only or pieces prune replaced same shape shifts text three training two which whole with within
    without""".split()  # noqa: SIM905
)
BOLD = re.compile(r"\*\*([^*]+?)\*\*")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(!?\[)((?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
SLIDER = re.compile(r"^<!-- slider: (\S+) (\d+) -->", re.MULTILINE)
FOLDED = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)


@dataclass
class Term:
    """A word that a lesson explains: as it is written, its sentence, and the pages that have it."""

    word: str
    sentence: str
    pages: list[str] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return "term-" + re.sub(r"[^a-z0-9]+", "-", self.word.lower()).strip("-")


@dataclass
class Stage:
    """The copy that Sphinx reads.

    Attributes:
        source: the project.
        folder: where the copy stands.
        repository: the project's public address; empty while it has none.
        terms: of the glossary, by their lower-case words.
    """

    source: Path
    folder: Path
    repository: str = ""
    terms: dict[str, Term] = field(default_factory=dict)

    def pages(self) -> list[str]:
        """All pages, as paths in the project."""
        found = ["README.md", "CONTRIBUTING.md"]
        for pattern in ("notebooks/*.ipynb", "exercises/*.ipynb", "solutions/*.ipynb", "docs/*.md"):
            found += sorted(
                p.relative_to(self.source).as_posix() for p in self.source.glob(pattern)
            )
        return found

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the copy."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def build(out: Path, source: Path = ROOT, repository: str | None = None) -> None:
    """Write the site.

    Args:
        out: its folder. A site that was made here before is replaced.
        source: the project.
        repository: its public address (default: the one in pyproject.toml).

    Raises:
        ValueError: where a link leads nowhere.
        RuntimeError: where Sphinx has a warning.
        FileExistsError: the folder holds something else.
    """
    if repository is None:
        settings = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))
        repository = settings["tool"]["course"]["repository"]
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(source, Path(folder, "source"), repository.removesuffix(".git"))
        prepare(stage)
        made = Path(folder, "site")
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-b", "html"]
        command += ["-d", str(Path(folder, "trees")), str(stage.folder), str(made)]
        # Sphinx writes the year into some pages, and Python's sets have another order in each process.
        environment = os.environ | {"SOURCE_DATE_EPOCH": "1735689600", "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"Sphinx says:\n{done.stderr.replace(str(stage.folder), '')}")
        (made / ".buildinfo").unlink(missing_ok=True)
        shutil.rmtree(made / "_sources", ignore_errors=True)  # empty
        (made / ".nojekyll").touch()  # GitHub's Pages leave out folders with _ without it
        check_out(out, made)
        if out.exists():
            shutil.rmtree(out)
        shutil.move(made, out)


def check_out(out: Path, made: Path) -> None:
    """Raise a FileExistsError, with names, if `out` holds what is not of a site that was made here."""
    there = (
        {path.name for path in out.iterdir()}
        if out.is_dir()
        else {out.name}
        if out.exists()
        else set()
    )
    if {".nojekyll", "_static"} <= there and (out / "_static" / "sliders.js").is_file():
        there -= {path.name for path in made.iterdir()}
    if there:
        raise FileExistsError(
            f"{out} holds what is not of the site: {', '.join(sorted(there)[:6])}. Move it, or name "
            'another folder: make site ARGS="--out FOLDER".'
        )


def prepare(stage: Stage) -> None:
    """Write all that Sphinx reads."""
    for name in stage.pages():
        if name.startswith("notebooks/"):
            collect_terms(stage, name, nbformat.read(stage.source / name, as_version=4))
    for name in stage.pages():
        if name.endswith(".ipynb"):
            notebook = nbformat.read(stage.source / name, as_version=4)
            stage.write(name, json.dumps(prepared(stage, name, notebook)))
        else:
            text = (stage.source / name).read_text("utf-8")
            text = with_sliders(stage, name, markdown(stage, name, text))
            if name == "README.md":
                name, text = "index.md", text + contents(stage)
            stage.write(name, text)
    stage.write("docs/glossary.md", glossary(stage))
    shutil.copy(ASSETS / "conf.py", stage.folder)
    for name in ("icon.svg", "site.css", "site.js"):
        stage.write(f"_static/{name}", (ASSETS / name).read_bytes())
    stage.write("_static/sliders.js", page_script())
    stage.write("_static/sliders.css", STYLE)


def contents(stage: Stage) -> str:
    """The navigation, as Sphinx wants it at the end of the first page."""
    pages = stage.pages()
    docs = [name[5:-3] for name in pages if name.startswith("docs/")] + ["glossary"]
    docs.sort(key=lambda name: (DOCS.index(name) if name in DOCS else len(DOCS), name))
    groups = {
        folder.capitalize(): [name for name in pages if name.startswith(f"{folder}/")]
        for folder in ("notebooks", "exercises", "solutions")
    }
    groups = {"Lessons" if name == "Notebooks" else name: group for name, group in groups.items()}
    groups["More"] = [*(f"docs/{name}.md" for name in docs), "CONTRIBUTING.md"]
    text = ""
    for caption, names in groups.items():
        lines = "\n".join(name.rpartition(".")[0] for name in names)
        text += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"
    return text


# ------------------------------------------------------------------------------------- text


def markdown(stage: Stage, page: str, text: str) -> str:
    """A text with its links made right, its answers folded, and without comments."""
    parts = CODE.split(re.sub(r"<!-- (?!slider).*?-->", "", text, flags=re.DOTALL))
    parts[::2] = [LINK.sub(lambda m: resolved(stage, page, m), part) for part in parts[::2]]
    return FOLDED.sub(unfold, "".join(parts))


def unfold(found: re.Match[str]) -> str:
    """A folded answer whose text is Markdown, too, as Jupyter shows it."""
    summary = re.sub(r"`([^`]+)`", r"<code>\1</code>", found[1])
    return f"\n\n<details><summary>{summary}</summary>\n\n{found[2].strip()}\n\n</details>\n\n"


def resolved(stage: Stage, page: str, link: re.Match[str]) -> str:
    """A link as it stands in the site: to a page, to a copy of a file, or to the code host."""
    opening, words, target = link.groups()
    words = LINK.sub(lambda m: resolved(stage, page, m), words)  # a picture that is a link
    before, after = f"{opening}{words}](", ")"
    if re.match(r"\w+:|#|//", target):
        return before + target + after
    path, _, anchor = target.partition("#")
    name = normal(PurePosixPath(page).parent / path)
    file = stage.source / name
    if not file.exists():
        raise ValueError(f"{page} links to {target}, and there is no such file.")
    if name in stage.pages():
        name = "index.md" if name == "README.md" else name
        return before + relative(name, page) + (f"#{anchor}" if anchor else "") + after
    if file.is_file() and (file.suffix in (".png", ".svg") or not stage.repository):
        stage.write(name, file.read_bytes())
        return before + relative(name, page) + after
    if stage.repository:
        kind = "blob" if file.is_file() else "tree"
        return f"{before}{stage.repository}/{kind}/main/{name}{after}"
    return words  # a folder, and the project has no address yet


def normal(path: PurePosixPath) -> str:
    """The path without `..`."""
    return os.path.normpath(str(path)).replace(os.sep, "/")


def relative(name: str, page: str) -> str:
    """The path from a page's folder."""
    return os.path.relpath(name, str(PurePosixPath(page).parent)).replace(os.sep, "/")


def with_sliders(stage: Stage, page: str, text: str) -> str:
    """Put a lesson's slider where a document says ``<!-- slider: NOTEBOOK NUMBER -->``."""

    def slider(found: re.Match[str]) -> str:
        return drawn(stage, page, slider_of(stage.source, found), int(found[2]))

    return SLIDER.sub(slider, text)


def slider_of(source: Path, named: re.Match[str]) -> NotebookNode:
    """The stored output that `SLIDER` has found the name of."""
    cells = nbformat.read(source / "notebooks" / f"{named[1]}.ipynb", as_version=4).cells
    outputs = [one for cell in cells for one in cell.get("outputs", [])]
    return [one for one in outputs if MIME in one.get("data", {})][int(named[2]) - 1]


def try_page(source: Path = ROOT) -> str:
    """The slider of docs/try.md as a page of one file: Binder has it without a kernel."""
    text = (source / "docs" / "try.md").read_text("utf-8")
    (named,) = SLIDER.finditer(text)
    return page_of(slider_of(source, named)["data"][MIME], title=text.splitlines()[0].lstrip("# "))


# --------------------------------------------------------------------------------- notebooks


def prepared(stage: Stage, page: str, notebook: NotebookNode) -> NotebookNode:
    """A notebook for Sphinx: sliders play, the setup is folded, terms are links."""
    notebook.metadata.pop("widgets", None)
    if page.startswith("solutions/"):
        notebook.metadata["nosearch"] = True  # whoever searches for a term wants no answers
    seen: set[str] = set()
    numbers = iter(range(1, 100))
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            text = markdown(stage, page, cell.source)
            cell.source = linked_terms(stage, page, text, seen)
        elif cell.cell_type == "code":
            collapsed = cell.metadata.get("jupyter", {}).get("source_hidden")
            start = {"setup", "parameters"} & set(tags)
            fold = ["hide-cell"] if start else ["hide-input"] if collapsed else []
            cell.metadata = {"tags": fold}  # what a collapsed cell shows stays in sight
            cell.outputs = [shown(stage, page, output, numbers) for output in cell.outputs]
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(run_it(stage, page), id="run-it"))
    return notebook


def run_it(stage: Stage, page: str) -> str:
    """How to run this page oneself."""
    original = f"_static/{page}"
    stage.write(original, (stage.source / page).read_bytes())
    ways = [f'<a href="{relative(original, page)}" download>download this notebook</a>']
    if stage.repository.startswith("https://github.com/"):
        name = stage.repository.removeprefix("https://github.com/")
        colab = f"https://colab.research.google.com/github/{name}/blob/main/{page}"
        binder = f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{page}"
        ways = [f"[open in Colab]({colab})", f"[open in Binder]({binder})", *ways]
    home = relative("index.md", page)
    ways.append(f"or [install the course]({home}#start) and open `{page}`")
    return f'<div class="course-run">\n\n**Run it yourself:** {", ".join(ways)}.\n\n</div>'


def shown(stage: Stage, page: str, output: NotebookNode, numbers: Iterator[int]) -> NotebookNode:
    """An output with the one form that a page without a kernel can show best."""
    data = output.get("data")
    if data is None:
        return output
    if MIME in data:
        return as_html(drawn(stage, page, output, next(numbers)))
    if "image/png" in data:
        return as_html(picture(stage, page, output))
    for kind in ("image/svg+xml", "text/html"):
        if kind in data:
            return as_html("".join(data[kind]))
    output["data"] = {"text/plain": data.get("text/plain", "")}
    return output


def as_html(text: str) -> NotebookNode:
    return nbformat.v4.new_output("display_data", {"text/html": text})


def drawn(stage: Stage, page: str, output: NotebookNode, number: int) -> str:
    """A slider, and its picture until the script has run."""
    before = picture(stage, page, output) if "image/png" in output["data"] else ""
    return f'<div id="slider-{number}">{static_html(output["data"][MIME], before)}</div>'


def picture(stage: Stage, page: str, output: NotebookNode) -> str:
    """A stored picture as a file of the site, with its alt text, and its size so that nothing jumps.

    A schematic is stored in both forms: the file is its SVG, in the size of its PNG.
    """
    content, kind = base64.b64decode("".join(output["data"]["image/png"])), "png"
    width, height = Image.open(io.BytesIO(content)).size
    if SVG in output["data"]:
        content, kind = "".join(output["data"][SVG]).encode(), "svg"
    name = f"_static/pictures/{hashlib.sha256(content).hexdigest()[:16]}.{kind}"
    stage.write(name, content)
    alt = html.escape(output.get("metadata", {}).get("image/png", {}).get("alt", ""), quote=True)
    return (
        f'<img class="course-picture" loading="lazy" src="{relative(name, page)}" '
        f'width="{width}" height="{height}" alt="{alt}">'
    )


# ---------------------------------------------------------------------------------- glossary


def is_term(word: str) -> bool:
    """Whether a bold word is a term.

    >>> [is_term(word) for word in ("mask", "Predict first.", "1.", "cut it to 5,000", "2:4 pattern")]
    [True, False, False, False, True]
    """
    words = word.lower().split()
    label = word[-1] in '.:?!"' or '"' in word or "=" in word or "×" in word
    return not label and len(words) <= 4 and not EMPHASIS & set(words)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a Markdown text, each on one line, without signs of lists and quotations."""
    for block in re.split(
        r"\n\s*\n|\n(?=[-*] )", CODE.sub(lambda m: m[0].replace("\n", " "), text)
    ):
        line = re.sub(r"^[-*>#] |\s*\n(?:> ?)?\s*", " ", block.strip()).strip()
        line = re.sub(r"^\*\*[^*]+[.:]\*\* ", "", re.sub(r"<!--.*?-->", "", line))
        yield from re.split(r"(?<=[.?!])(?<!et al\.) +(?=[A-Z*])", line)


def collect_terms(stage: Stage, page: str, notebook: NotebookNode) -> None:
    """Note the terms of a lesson, each with the sentence that has it first."""
    for cell in notebook.cells[1:]:
        for sentence in sentences(cell.source) if cell.cell_type == "markdown" else ():
            for word in filter(is_term, BOLD.findall(sentence)):
                term = stage.terms.setdefault(
                    word.lower(), Term(word, LINK.sub(words_of, sentence))
                )
                if page not in term.pages:
                    term.pages.append(page)


def words_of(link: re.Match[str]) -> str:
    """A link's words alone."""
    return link[2]


def linked_terms(stage: Stage, page: str, text: str, seen: set[str]) -> str:
    """The text with a link to the glossary at the first bold place of each term."""

    def link(found: re.Match[str]) -> str:
        term = stage.terms.get(" ".join(found[1].replace("\n> ", " ").split()).lower())
        if term is None or page not in term.pages or term.anchor in seen:
            return found[0]
        seen.add(term.anchor)
        return f"[{found[0]}](#{term.anchor})"

    return BOLD.sub(link, text)


def glossary(stage: Stage) -> str:
    """The page of terms: each with its sentence, and the lessons that use it."""
    text = "# Glossary\n\nThe terms of the lessons, each in the sentence that explains it first.\n"
    for key in sorted(stage.terms, key=lambda word: word.lstrip("0123456789: ")):
        term = stage.terms[key]
        links = ", ".join(
            f"[lesson {PurePosixPath(page).name.split('_')[0].lstrip('0')}]({relative(page, 'docs/x')})"
            for page in term.pages
        )
        title = term.word[0].upper() + term.word[1:]
        text += f"\n({term.anchor})=\n## {title}\n\n{term.sentence} ({links})\n"
    return text


def main() -> None:
    """Build, and say where."""
    parser = argparse.ArgumentParser(description="Build the site.")
    parser.add_argument("--out", type=Path, default=ROOT / "site")
    parser.add_argument("--try", type=Path, dest="alone", help="only write this page of one slider")
    given = parser.parse_args()
    if given.alone:
        given.alone.write_text(try_page(), "utf-8")
    else:
        try:
            build(given.out.resolve())
        except FileExistsError as error:
            sys.exit(str(error))
    print(f"{given.alone or given.out / 'index.html'}: open it in a browser")


if __name__ == "__main__":
    main()
