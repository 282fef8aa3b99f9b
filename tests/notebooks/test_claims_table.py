"""The tables of claims say what the executed lessons say, and miss no statement of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.lessons import claims as second_claims
from course_lib.lessons.first_claims import Claims
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
        "combine by pruning the teacher, then distilling": "[Pp]run.* then distill",
        "combine both at once": "at once|while distilling",
        "5–8 × at 97 %": "5–8 ×.*97 %",
        "10 × smaller at 5 % loss": "10 × smaller.*5 %",
    },
}
SOURCES = tool.find_sources([])
each_lesson = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def stated(source: str) -> Iterator[str]:
    """What the calls in a lesson's source that make a claim state: their first argument, or what was
    assigned to the name that stands there."""
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("claims.add", "claim")  # a lesson's own helper is named …claim
        ):
            first = ast.unparse(node.args[0])
            assigned = [
                one.value
                for one in nodes
                if isinstance(one, ast.Assign) and first in map(ast.unparse, one.targets)
            ]
            for value in assigned or [node.args[0]]:
                yield value.value if isinstance(value, ast.Constant) else ast.unparse(value)


def missing(number: str, statements: list[str]) -> list[str]:
    """The source's statements for this lesson that none of its claims is about."""
    wanted = STATEMENTS.get(number, {})
    return [
        name for name, key in wanted.items() if not any(re.search(key, one) for one in statements)
    ]


def unfit(notebook: NotebookNode) -> list[str]:
    """What is wrong with a lesson's claims: no measurement, or not shown where it is made."""
    claims = tool.collect_claims(notebook)
    empty = {"", "None", "nan", "…", "..."}
    found = [f"not measured: {one['statement']}" for one in claims if one["measured"] in empty]
    shown = [
        out.data["text/html"]
        for cell in tool.code_cells(notebook)
        for out in cell.outputs
        if "course-claims" in out.get("data", {}).get("text/html", "")
    ]
    rows = shown[-1].count("<tr>") - 1 if shown else 0  # the last table holds all; one is its head
    if len(claims) < rows:
        found.append(
            f"{rows - len(claims)} of {rows} claims are in the last table alone: end their cells "
            "in claims.add(...) or display(...), not in print(...)"
        )
    return found


@each_lesson
def test_no_lesson_looked_in_vain_for_what_an_earlier_one_measured(source):
    assert "run it, and see what it measures" not in str(
        [cell.outputs for cell in tool.code_cells(tool.read(tool.notebook_of(source)))]
    )


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


def lesson(*claims: tuple[str, str, str, object], title: str = "Lesson 1 · Small") -> NotebookNode:
    """A lesson that shows these claims, each (statement, source, measured, holds), and all again."""
    made = Claims()
    cells = [new_markdown_cell(f"# {title}\n\nText.")]
    for statement, source, measured, holds in claims:
        one = made.add(statement, source=source, measured=measured, holds=holds, n=1000)
        output = new_output("execute_result", one._repr_mimebundle_())
        cells.append(new_code_cell("claims.add(...)", outputs=[output]))
    table = new_output("execute_result", {"text/html": made._repr_html_()})
    return new_notebook(cells=[*cells, new_code_cell("claims", outputs=[table])])


FIRST = lesson(
    ("A | B", "A paper, table 1", "80.4 % (78.6–82.1, n = 1,000)\nagainst 1 * 2", True),
    ("Ours", "this course", "7", True),
    ("It always helps", "a belief", "-0.4 points (-0.9 to +0.1)", False),
)
SECOND = lesson(("It helps a bit", "a blog", "1.1 ×", "in part"), title="Lesson 2 · Smaller")


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
        r"| A \| B | A paper, table 1 | 80.4 % (78.6–82.1, n = 1,000) against 1 \* 2 | 1,000 "
        "| ✓ holds |",
        "| Ours | this course | 7 | 1,000 | ✓ holds |",
        "| It always helps | a belief | -0.4 points (-0.9 to +0.1) | 1,000 | ✗ does not hold |",
    ]
    assert page[-1] == "| It helps a bit | a blog | 1.1 × | 1,000 | ◐ holds in part |"
    assert "No claim" not in "".join(page)


def test_a_table_of_claims_is_read_with_its_margins(course):
    made = second_claims.Claims()
    made.add("It stays", value=(0.002, -0.004, 0.008), margin=-0.01, unit="points", n=1000)
    made.add("It is faster", value=(1.2, 0.9, 1.5), margin=1, unit="×")
    shown = new_output("display_data", made._repr_mimebundle_())
    cells = [new_markdown_cell("# Lesson 4 · New"), new_code_cell("claims", outputs=[shown])]
    tool.write(new_notebook(cells=cells), course / "notebooks" / "04_new.ipynb")
    tool.write_tables(course)
    page = (course / "docs" / "claims.md").read_text("utf-8").splitlines()
    assert page[-2:] == [
        "| It stays | this course | +0.2 points (-0.4 to +0.8); holds if above -1 point | 1,000 "
        "| ✓ holds |",
        "| It is faster | this course | 1.2 × (0.9–1.5); holds if above 1 × | – | ? cannot tell |",
    ]
    assert unfit(new_notebook(cells=cells)) == []


def test_writing_twice_changes_nothing_and_another_measurement_does(course):
    tool.write_tables(course)
    written = {path: path.read_text("utf-8") for path in tool.tables(course)}
    assert tool.tables(course) == written
    path = course / "notebooks" / "02_smaller.ipynb"
    tool.write(lesson(("It helps a bit", "a blog", "1.2 ×", "in part")), path)
    assert all(text != written[path] for path, text in tool.tables(course).items())


def test_a_claim_without_measurement_or_printed_only_is_found():
    assert unfit(FIRST) == []
    assert unfit(lesson(("It helps", "a blog", "", True))) == ["not measured: It helps"]
    assert unfit(lesson(("It helps", "a blog", None, True))) == ["not measured: It helps"]
    printed = lesson(("A", "a blog", "1", True), ("B", "a blog", "2", True))
    printed.cells[2].outputs = [new_output("stream", text="✓ holds: B")]
    (found,) = unfit(printed)
    assert found.startswith("1 of 2 claims")


def test_a_missing_statement_is_named():
    speed = "Removing neurons makes LeNet at least 2 × as fast"
    source = f'claims.add("Coarser granularity costs more", n=1)\nprint("{speed}")'
    assert missing("02", list(stated(source))) == ["structured is a real speed-up"]
    source += f'\nif 1:\n    claim(f"{speed} {{x}}", "a blog")'
    assert missing("02", list(stated(source))) == []
    source = 'said = "Coarser granularity costs more"\nclaims.add(said, n=1)'
    assert list(stated(source)) == ["Coarser granularity costs more"]
    assert missing("09", []) == []
