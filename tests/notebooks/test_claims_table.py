"""The tables of claims say what the executed lessons say, and miss no statement of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.claims import Claims
from tools import notebooks as tool

# What tutorials on pruning and distillation state, and a pattern by which to know the claim that
# puts it to the test in that lesson.
STATEMENTS = {
    "01": {
        "30.0 % sparsity": "exactly 30.0 % of the weights",
        "many weights contribute little": "Many weights contribute little",
        "high compression at minimal loss": "within 1 point of dense at 97 % sparsity",
        "sparse is hard to accelerate": "sparse operations are hard to accelerate",
    },
    "02": {
        "structured is a real speed-up on any hardware": "real speed-up, on any hardware",
        "coarser granularity costs more accuracy per parameter": "Coarser granularity costs more",
    },
    "03": {
        "the soft distribution carries more information": "soft distribution carries more",
        "T in 2–10 is typical": "T between 2 and 10 is typical",
        "higher T is more informative": "higher temperature is more informative",
        "T = 4 is Hinton's default": "T = 4 is the default",
    },
    "04": {
        "40 % smaller": "DistilBERT is 40 % smaller",
        "60 % faster": "DistilBERT is 60 % faster",
        "97 %": "keeps 97 % of its teacher",
        "POSITIVE 0.9998": "'POSITIVE', 'score': 0.9998",
    },
    "05": {
        "combine by pruning the teacher, then distilling": "[Pp]run.* then distil",
        "combine both at once": "at once|while distilling",
        "5–8 × at 97 %": "5–8 ×.*97 %",
        "10 × smaller at 5 % loss": "10 × smaller.*5 %",
    },
}
SOURCES = tool.find_sources([])
each_lesson = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def stated(source: str) -> Iterator[str]:
    """What the calls in a lesson's source that make a claim state: their first argument."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("claims.add", "claim")  # a lesson's own helper is named …claim
        ):
            first = node.args[0]
            yield first.value if isinstance(first, ast.Constant) else ast.unparse(first)


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
    assert missing(source.stem[:2], list(stated(source.read_text("utf-8")))) == []


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
    """A folder with two lessons, one of them with claims, and a README; returns it."""
    (tmp_path / "docs").mkdir()
    text = "# Course\n<!-- claims:begin -->\nold\n<!-- claims:end -->\nThe end.\n"
    (tmp_path / "README.md").write_text(text, "utf-8")
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


def test_the_readme_has_every_claim_and_keeps_the_rest(course):
    tool.write_tables(course)
    readme = (course / "README.md").read_text("utf-8").splitlines()
    assert readme[:2] == ["# Course", "<!-- claims:begin -->"]
    assert readme[-2:] == ["<!-- claims:end -->", "The end."]
    assert "(3: 1 hold, 1 in part, 1 not)" in readme[2]
    head = readme.index("|---|---|---|---|---|")
    assert readme[head + 1 : head + 4] == [
        "| It always helps | -0.4 points (-0.9 to +0.1) | 1,000 | ✗ does not hold "
        "| [1](notebooks/01_small.ipynb) |",
        "| It helps a bit | 1.1 × | 1,000 | ◐ holds in part | [2](notebooks/02_smaller.ipynb) |",
        r"| A \| B | 80.4 % against 1 \* 2 | 1,000 | ✓ holds | [1](notebooks/01_small.ipynb) |",
    ]
    assert readme[-9:-2] == [
        "<details><summary>What the course itself states (1: 1 hold)</summary>",
        "",
        "| we say | we measured | n | verdict | lesson |",
        "|---|---|---|---|---|",
        "| Ours | 7 | 1,000 | ✓ holds | [1](notebooks/01_small.ipynb) |",
        "",
        "</details>",
    ]


def test_writing_twice_changes_nothing_and_another_measurement_does(course):
    tool.write_tables(course)
    written = {path: path.read_text("utf-8") for path in tool.tables(course)}
    assert tool.tables(course) == written
    path = course / "notebooks" / "02_smaller.ipynb"
    tool.write(lesson(("It helps a bit", "a blog", "1.2 ×", "in part")), path)
    assert all(text != written[path] for path, text in tool.tables(course).items())


@pytest.mark.parametrize(
    ("text", "found"), [("# Course\n", 0), ("<!-- claims:begin -->\n<!-- claims:end -->\n" * 2, 2)]
)
def test_a_readme_without_one_place_for_the_table_is_refused(course, text, found):
    (course / "README.md").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=f"{found} places .* write the lines <!-- claims:begin"):
        tool.write_tables(course)


def test_a_claim_without_measurement_or_printed_only_is_found():
    assert unfit(FIRST) == []
    assert unfit(lesson(("It helps", "a blog", "", True))) == ["not measured: It helps"]
    assert unfit(lesson(("It helps", "a blog", None, True))) == ["not measured: It helps"]
    printed = lesson(("A", "a blog", "1", True), ("B", "a blog", "2", True))
    printed.cells[2].outputs = [new_output("stream", text="✓ holds: B")]
    (found,) = unfit(printed)
    assert found.startswith("1 of 2 claims")


def test_a_missing_statement_is_named():
    source = (
        'claims.add("Coarser granularity costs more", n=1)\nprint("real speed-up, on any hardware")'
    )
    assert missing("02", list(stated(source))) == ["structured is a real speed-up on any hardware"]
    source += '\nif 1:\n    claim(f"A real speed-up, on any hardware {x}", "a blog")'
    assert missing("02", list(stated(source))) == []
    assert missing("09", []) == []
