"""Build the exercises' two editions, and the list of misconceptions, from solutions/src.

python tools/exercises.py                  build all; a lab is run where its code has changed
python tools/exercises.py --fresh 01       run it again in any case
"""

import argparse
import copy
import re
import shutil
import sys
import time
from pathlib import Path

from nbconvert.exporters import ResourcesDict
from nbformat import NotebookNode
from nbgrader import preprocessors as nbgrader
from nbgrader.utils import compute_checksum, is_solution

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `tools` itself is not installed

from course_lib import checks
from course_lib.checks.naming import COMMON
from tools import notebooks

SOURCES = notebooks.ROOT / "solutions" / "src"
STUDENTS = notebooks.ROOT / "exercises"
PAGE = notebooks.ROOT / "docs" / "instructors.md"
PLAIN = 7  # a name of so many words says by itself what goes wrong
# Code, brackets, emphasis, "et al." and other text; then the sign behind the first clause.
CLAUSE = re.compile(
    r"((?:`[^`]*`|\([^()]*\)|\*\w[^*]*\*|et al\.|[^.?!:;]|[.?!:;](?=\S))++)([.?!:;])"
)
BEGIN, END = "<!-- misconceptions: made by `make exercises` -->", "<!-- end of misconceptions -->"
SIGNS = str.maketrans(":;", "..")
# The order of nbgrader's own `generate_assignment`. No database is needed.
FOR_STUDENTS = (
    nbgrader.LockCells,
    nbgrader.ClearSolutions,
    nbgrader.ClearOutput,
    nbgrader.CheckCellMetadata,
    nbgrader.ClearHiddenTests,
    nbgrader.ClearMarkScheme,
    nbgrader.ComputeChecksums,
    nbgrader.CheckCellMetadata,
)


def student_edition(master: NotebookNode) -> NotebookNode:
    """Stubs for answers, check cells locked, no output: what nbgrader would release."""
    notebook, resources = copy.deepcopy(master), ResourcesDict()
    for preprocessor in FOR_STUDENTS:
        notebook, resources = preprocessor().preprocess(notebook, resources)
    return notebook


def keep_answers(path: Path) -> None:
    """Copy a lab that somebody has answered to exercises/answers, before it is written anew."""
    try:
        cells = notebooks.read(path).cells if path.is_file() else []
    except Exception:  # nobody knows what is in it
        cells = [None]
    if any(cell is None or is_answered(cell) for cell in cells):
        kept = path.parent / "answers" / f"{path.stem}-{time.time_ns()}.ipynb"
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(path, kept)
        print(f"  {path.name} held answers: they are kept in {kept.relative_to(path.parent)}")


def is_answered(cell: NotebookNode) -> bool:
    """Is an answer cell no longer what was handed out? nbgrader noted its checksum."""
    noted = cell.metadata.get("nbgrader", {}).get("checksum")
    return is_solution(cell) and noted != compute_checksum(cell)


def executed(source: Path, fresh: bool = False) -> notebooks.Run:
    """The instructor's edition: the stored one if no code has changed since it ran, else a new run."""
    path, wanted = notebooks.notebook_of(source), notebooks.code_cells(notebooks.build(source))
    stored = notebooks.code_cells(notebooks.read(path)) if path.exists() else []
    same = [cell.source for cell in stored] == [cell.source for cell in wanted]
    if fresh or not same or not all(cell.execution_count for cell in stored):
        result = notebooks.run(source, minutes=5)
    else:
        notebooks.sync(source)  # its prose may have changed
        result = notebooks.Run(source.stem, 0, 0, notebooks.read(path))
    result.notebook.metadata.pop("widgets", None)  # what the progress bars of a training leave
    return result


def misconceptions() -> str:
    """The checks' mistakes as Markdown lists, folded: one fold for each lab."""
    folds = [fold("In every exercise", items(COMMON))]
    for number, lesson in checks.LESSONS.items():
        lines = []
        for check in (one for one in vars(lesson).values() if isinstance(one, checks.Check)):
            lines += ["", f"`checks.{check.name}`", "", *items(check.known)]
        folds.append(fold(f"Lab {number}", lines[1:]))
    return "\n\n".join(folds)


def fold(title: str, lines: list[str]) -> str:
    """Lines of Markdown that a reader unfolds."""
    return "\n".join([f"<details><summary>{title}</summary>", "", *lines, "", "</details>"])


def items(mistakes: tuple[checks.Mistake, ...]) -> list[str]:
    """A list: each mistake's name, and the beginning of what the learner is told.

    Mistakes with the same explanation share an item. Names that say it all stand alone.
    """
    named: dict[str, list[str]] = {}
    for one in mistakes:
        named.setdefault(first_clauses(one.why), []).append(f"**{one.name}**")
    lines = []
    for why, names in named.items():
        plain = all(map(is_plain, names))
        lines += [f"- {name}" for name in names] if plain else [f"- {'; '.join(names)}: {why}"]
    return lines


def is_plain(name: str) -> bool:
    """Whether a mistake's name needs no explanation.

    >>> is_plain("the mask is upside down"), is_plain("only the first of them falls silent")
    (False, True)
    """
    return len(name.split()) >= PLAIN


def first_clauses(text: str, words: int = 5) -> str:
    """The first clauses of a text that have so many words together, as a sentence.

    A clause ends with a colon, a semicolon or a sentence. A sign inside of code, brackets or emphasis,
    or without a space behind it, ends none.
    """
    for found in CLAUSE.finditer(text):
        if len(text[: found.end()].split()) >= words:
            return text[: found.end() - 1] + found[2].translate(SIGNS)
    return text


def with_list(text: str) -> str:
    """The instructors' page with today's list between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE.name} needs the lines {BEGIN} and {END}: between them is the list")
    return f"{before}{BEGIN}\n\n{misconceptions()}\n\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="how the labs' names begin, e.g. 01 (all)")
    parser.add_argument("--fresh", action="store_true", help="run them even if nothing changed")
    options = parser.parse_intermixed_args()
    failed = False
    for source in notebooks.find_sources(options.names, SOURCES):
        result = executed(source, options.fresh)
        print(source.stem, f"ran {60 * result.minutes:.0f} s" if result.minutes else "unchanged")
        for problem in result.problems:
            print(" ", problem)
        if result.problems:
            failed = True
            continue
        notebooks.write(result.notebook, notebooks.notebook_of(source))
        students = student_edition(notebooks.build(source))
        keep_answers(STUDENTS / f"{source.stem}.ipynb")
        notebooks.write(students, STUDENTS / f"{source.stem}.ipynb")
    PAGE.write_text(with_list(PAGE.read_text("utf-8")), "utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
