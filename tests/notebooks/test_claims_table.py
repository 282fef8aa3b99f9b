"""The tables of claims say what the executed lessons say, and miss no statement of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.lessons.claims import Claims
from tools import notebooks as tool

# What tutorials on pruning and distillation state, and a pattern by which to know the claim that
# puts it to the test in that lesson.
STATEMENTS = {
    "01": {
        "many weights contribute little": "Many weights contribute little",
        "high compression at minimal loss": "within 1 point of dense at 97 % sparsity",
        "sparse is hard to accelerate": "CSR is worth the trouble",
    },
    "02": {
        "structured is a real speed-up": "Removing neurons makes LeNet at least",
        "coarser granularity costs more accuracy per parameter": "Coarser granularity costs more",
    },
    "03": {
        "the soft distribution carries more information": "soft answers at T = 20 find",
        "higher T is more informative": "T = 20 finds more than T = 1",
        "a T of 4 is enough": "T = 4 is good enough",
    },
    "04": {
        "60 % faster": "DistilBERT is 60 % faster",
        "97 %": "keeps 97 % of its teacher",
    },
    "05": {
        "combine by pruning the teacher, then distilling": "Distill, then prune loses",
        "combine both at once": "Both at once",
        "DistilBERT with int8 is 5–8 × smaller": "at least 5 × smaller",
        "10 × smaller at 5 % loss": "10 × smaller.*5 %",
    },
}
SOURCES = tool.find_sources([])
each_lesson = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def stated(source: str) -> Iterator[str]:
    """What the calls in a lesson's source that make a claim state: their first argument, or what was
    assigned to the name that stands there."""
    nodes = list(ast.walk(ast.parse(source)))
    adding = {"claims.add", "claim", *helpers(nodes)}
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) in adding:
            first = ast.unparse(node.args[0])
            assigned = [value for name, value in assignments(nodes) if name == first]
            for value in assigned or [node.args[0]]:
                yield value.value if isinstance(value, ast.Constant) else ast.unparse(value)


def helpers(nodes: list[ast.AST]) -> Iterator[str]:
    """The names that a lesson gives to `claims.add` with some arguments: ``partial(claims.add, …)``."""
    for node in nodes:
        if isinstance(node, ast.Assign) and "partial(claims.add" in ast.unparse(node.value):
            (target,) = node.targets
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            yield from map(ast.unparse, names)


def assignments(nodes: list[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Name → what it is given, also in `a, b = 1, 2`."""
    for node in nodes:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            pair = (target, node.value)
            both = all(isinstance(side, ast.Tuple) for side in pair)
            sides = [side.elts for side in pair] if both else [[target], [node.value]]
            for name, value in zip(*sides, strict=True):
                yield ast.unparse(name), value


def missing(number: str, statements: list[str]) -> list[str]:
    """The source's statements for this lesson that none of its claims is about."""
    wanted = STATEMENTS.get(number, {})
    return [
        name for name, key in wanted.items() if not any(re.search(key, one) for one in statements)
    ]


def unfit(notebook: NotebookNode) -> list[str]:
    """The claims of a lesson without a measurement."""
    claims = tool.collect_claims(notebook)
    return [
        f"not measured: {one['statement']}"
        for one in claims
        if one["measured"].startswith("unknown")
    ]


def test_the_tables_are_those_of_the_executed_lessons():
    for path, text in tool.tables().items():
        assert path.read_text("utf-8") == text, "run: python tools/notebooks.py claims"


@each_lesson
def test_every_claim_is_measured_and_collected(source):
    assert unfit(tool.read(tool.notebook_of(source))) == []


@each_lesson
def test_every_statement_of_the_source_is_a_claim(source):
    assert missing(source.stem.partition("_")[0], list(stated(source.read_text("utf-8")))) == []


# --- the tables and the checks themselves must be able to fail ----------------------------------


def lesson(*claims: tuple[str, str, object], title: str = "Lesson 1 · Small") -> NotebookNode:
    """A lesson that shows a table of these claims, each (statement, source, value)."""
    made = Claims()
    for statement, source, value in claims:
        made.add(statement, source=source, value=value, margin=0.01, unit="points", n=1000)
    shown = new_output("display_data", made._repr_mimebundle_())
    cells = [new_markdown_cell(f"# {title}\n\nText."), new_code_cell("claims", outputs=[shown])]
    return new_notebook(cells=cells)


FIRST = lesson(
    ("A | B", "A paper, table 1 * 2", (0.02, 0.015, 0.03)),
    ("Ours", "this course", 0.07),
    ("It always helps", "a belief", (-0.004, -0.009, 0.001)),
)
SECOND = lesson(("It helps a bit", "a blog", (0.012, 0.004, 0.02)), title="Lesson 2 · Smaller")


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A folder with three lessons, two of them with claims; returns it."""
    (tmp_path / "docs").mkdir()
    tool.write(FIRST, tmp_path / "notebooks" / "01_small.ipynb")
    tool.write(SECOND, tmp_path / "notebooks" / "02_smaller.ipynb")
    tool.write(lesson(title="Lesson 3 · No claim"), tmp_path / "notebooks" / "03_none.ipynb")
    return tmp_path


def test_the_page_has_every_claim_of_every_lesson(course):
    tool.write_tables(course)
    page = (course / "docs" / "claims.md").read_text("utf-8").splitlines()
    one = page.index("## [Lesson 1 · Small](../notebooks/01_small.ipynb)")
    assert page[one + 2 : one + 7] == [
        "| claim | who says it | measured here | n | verdict |",
        "|---|---|---|---|---|",
        r"| A \| B | A paper, table 1 \* 2 | +2.0 points (+1.5 to +3.0); holds if above +1 point "
        "| 1,000 | ✓ holds |",
        "| Ours | this course | +7.0 points; holds if above +1 point | 1,000 | ✓ holds |",
        "| It always helps | a belief | -0.4 points (-0.9 to +0.1); holds if above +1 point | 1,000 "
        "| ✗ does not hold |",
    ]
    assert page[-1] == (
        "| It helps a bit | a blog | +1.2 points (+0.4 to +2.0); holds if above +1 point | 1,000 "
        "| ? cannot tell |"
    )
    assert "No claim" not in "".join(page)


def test_writing_twice_changes_nothing_and_another_measurement_does(course):
    tool.write_tables(course)
    written = {path: path.read_text("utf-8") for path in tool.tables(course)}
    assert tool.tables(course) == written
    path = course / "notebooks" / "02_smaller.ipynb"
    tool.write(lesson(("It helps a bit", "a blog", 0.013)), path)
    assert all(text != written[path] for path, text in tool.tables(course).items())


def test_a_claim_without_measurement_is_found():
    assert unfit(FIRST) == []
    nothing = (float("nan"), float("nan"), float("nan"))
    assert unfit(lesson(("It helps", "a blog", nothing))) == ["not measured: It helps"]


def test_a_missing_statement_is_named():
    speed = "Removing neurons makes LeNet at least 2 × as fast"
    source = f'claims.add("Coarser granularity costs more", n=1)\nprint("{speed}")'
    assert missing("02", list(stated(source))) == ["structured is a real speed-up"]
    source += f'\nif 1:\n    claim(f"{speed} {{x}}", "a blog")'
    assert missing("02", list(stated(source))) == []
    source = 'said = "Coarser granularity costs more"\nclaims.add(said, n=1)'
    assert list(stated(source)) == ["Coarser granularity costs more"]
    assert missing("09", []) == []
