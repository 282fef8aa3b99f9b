"""The three editions of each lab are in step, students see no answer, each exercise is complete.

That solutions pass and stubs fail is seen in test_grading.py, where nbgrader runs them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbgrader import utils as nbgrader

sys.path.insert(0, str(Path(__file__).parents[1]))  # tools/ is not installed

from course_lib import checks
from tools import exercises as tool
from tools import notebooks

LABS = notebooks.find_sources([], tool.SOURCES)
each_lab = pytest.mark.parametrize("source", LABS, ids=lambda source: source.stem)
EXERCISE = re.compile(
    r"## (?P<number>\d+) · .+?\*\*Goal\*\* .+?\*\*(?P<minutes>\d+) minutes, "
    r"difficulty (?P<difficulty>[123]) of 3\*\*(?P<text>.+)",
    re.DOTALL,
)


def students(source: Path) -> NotebookNode:
    return notebooks.read(tool.STUDENTS / f"{source.stem}.ipynb")


def answers(source: Path) -> list[str]:
    """What stands between the marks of the master's answer cells."""
    text = source.read_text("utf-8")
    return re.findall(r"### BEGIN SOLUTION\n(.+?)\n\s*### END SOLUTION", text, re.DOTALL)


# --- in step --------------------------------------------------------------------------------------


@each_lab
def test_the_editions_are_what_the_master_builds(source):
    master = notebooks.build(source)
    assert notebooks.in_step(source), "run: make exercises"
    assert students(source) == tool.student_edition(master), "run: make exercises"


@each_lab
def test_the_instructors_edition_is_executed_and_clean(source):
    notebook = notebooks.read(notebooks.notebook_of(source))
    assert all(cell.execution_count for cell in notebooks.code_cells(notebook))
    assert notebooks.scan(notebook) == []


def test_each_edition_has_a_master():
    names = {source.stem for source in LABS}
    assert {path.stem for path in tool.STUDENTS.glob("*.ipynb")} == names
    assert {path.stem for path in tool.SOURCES.parent.glob("*.ipynb")} == names


def test_the_list_of_misconceptions_is_in_step():
    text = tool.PAGE.read_text("utf-8")
    assert tool.with_list(text) == text, "run: make exercises"
    for number, lesson in checks.LESSONS.items():
        fold = text.partition(f"<summary>Lab {number}</summary>")[2].partition("</details>")[0]
        for check in (one for one in vars(lesson).values() if isinstance(one, checks.Check)):
            part = fold.partition(f"`checks.{check.name}`\n")[2].partition("\n`checks.")[0]
            assert [one.name for one in check.known if one.name not in part] == []


def test_mistakes_share_an_explanation_and_plain_names_have_none():
    known = [
        checks.Mistake("T is twice there", "T belongs to both of them. And more."),
        checks.Mistake("only the first of the seven rows is read", "The loop ends too early here."),
        checks.Mistake("T | 2", "T belongs to both of them: see above."),
        checks.Mistake("only the last of the seven rows is read", "Counts start anew."),
        checks.Mistake(
            "each row counts once, but the last one twice", "T belongs to both of them."
        ),
    ]
    assert tool.items(known) == [
        "- **T is twice there**; **T | 2**; **each row counts once, but the last one twice**: "
        "T belongs to both of them.",
        "- **only the first of the seven rows is read**",
        "- **only the last of the seven rows is read**",
    ]


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("KL is not symmetric here. The teacher's weigh.", "KL is not symmetric here."),
        ("log_softmax is for the loss: take it once.", "log_softmax is for the loss."),
        ("A batch norm is cut; so is the next. Both.", "A batch norm is cut."),
        ("Count them: there are too few. Look.", "Count them: there are too few."),
        ("Is it small or large? It may be.", "Is it small or large?"),
        ("At T = 0.5 `a: b; c.d` (so. it: is) is *very: so* good. Not bad.",
         "At T = 0.5 `a: b; c.d` (so. it: is) is *very: so* good."),
        ("Molchanov et al. square it. We do not.", "Molchanov et al. square it."),
        ("No sign at all", "No sign at all"),
    ],
)  # fmt: skip
def test_an_item_of_the_list_has_the_first_clauses(text, clause):
    assert tool.first_clauses(text) == clause


def test_each_fold_of_the_list_is_closed_and_holds_no_heading():
    folds = re.split(r"<details><summary>(.+?)</summary>", tool.misconceptions())
    assert folds[0] == "" and folds[1] == "In every exercise"
    assert folds[3::2] == [f"Lab {number}" for number in checks.LESSONS]
    for text in folds[2::2]:
        assert text.count("</details>") == 1 and text.strip().endswith("</details>")
        assert not re.search(r"^#", text, re.MULTILINE)
        assert [line for line in text.splitlines() if line.count("`") % 2] == []


def test_a_page_without_its_marks_is_an_error():
    with pytest.raises(ValueError, match=r"instructors\.md needs the lines"):
        tool.with_list("# For instructors\n")


# --- building -------------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The tool on a folder of its own, with one tiny lab; running it is counted, not done."""
    source = tmp_path / "solutions" / "src" / "01_tiny.py"
    source.parent.mkdir(parents=True)
    marks = '"locked": {}, "schema_version": 3, "solution": {}, "task": false'
    answer = marks.format("false", "true")
    check = marks.format("true", "false")
    source.write_text(
        f'# %% nbgrader={{"grade": false, "grade_id": "two", {answer}}}\n'
        "### BEGIN SOLUTION\ntwo = 1 + 1\n### END SOLUTION\n\n"
        f'# %% nbgrader={{"grade": true, "grade_id": "check-two", "points": 1, {check}}}\n'
        "assert two == 2\n### BEGIN HIDDEN TESTS\nassert two < 3\n### END HIDDEN TESTS\n",
        "utf-8",
    )
    table = tmp_path / "instructors.md"
    table.write_text(f"before\n\n{tool.BEGIN}\n{tool.END}\n\nafter\n", "utf-8")
    monkeypatch.setattr(tool, "SOURCES", source.parent)
    monkeypatch.setattr(tool, "STUDENTS", tmp_path / "exercises")
    monkeypatch.setattr(tool, "PAGE", table)
    runs = []

    def run(source: Path, minutes: float) -> notebooks.Run:
        runs.append(source.stem)
        notebook = notebooks.build(source)
        for number, cell in enumerate(notebooks.code_cells(notebook), 1):
            cell.execution_count = number
        return notebooks.Run(source.stem, 0.1, 0, notebook)

    monkeypatch.setattr(notebooks, "run", run)
    return source, runs


def build(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["exercises.py", *arguments])
    return tool.main()


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.*")
        if path.is_file()
    }


def test_two_builds_are_the_same_bytes_and_run_once(course, monkeypatch):
    source, runs = course
    folder = source.parents[2]
    assert build(monkeypatch) == 0
    first = all_bytes(folder)
    assert {"solutions/01_tiny.ipynb", "exercises/01_tiny.ipynb"} <= first.keys()
    assert build(monkeypatch) == 0
    assert all_bytes(folder) == first
    assert runs == ["01_tiny"]
    assert build(monkeypatch, "--fresh", "01") == 0
    assert runs == ["01_tiny"] * 2


def test_prose_is_taken_over_without_a_run_and_code_with_one(course, monkeypatch):
    source, runs = course
    build(monkeypatch)
    text = source.read_text("utf-8")
    source.write_text(f"# %% [markdown]\n# A word.\n\n{text}", "utf-8")
    build(monkeypatch)
    assert runs == ["01_tiny"]
    assert notebooks.in_step(source)
    source.write_text(text.replace("1 + 1", "4 - 2"), "utf-8")
    build(monkeypatch)
    assert runs == ["01_tiny"] * 2


def test_students_get_stubs_and_no_hidden_test(course):
    source, _ = course
    stub, check = tool.student_edition(notebooks.build(source)).cells
    assert stub.source == "# YOUR CODE HERE\nraise NotImplementedError()"
    assert check.source == "assert two == 2"
    assert check.metadata.editable is False and check.metadata.nbgrader.checksum


def test_a_lab_that_fails_is_not_stored(course, monkeypatch, capsys):
    source, _ = course
    failed = notebooks.Run("01_tiny", 0.1, 0, notebooks.build(source), ["cell 2: AssertionError"])
    monkeypatch.setattr(notebooks, "run", lambda source, minutes: failed)
    assert build(monkeypatch) == 1
    assert "cell 2: AssertionError" in capsys.readouterr().out
    assert not notebooks.notebook_of(source).exists() and not tool.STUDENTS.exists()


# --- what students get ----------------------------------------------------------------------------


@each_lab
def test_the_student_edition_holds_no_answer_hidden_test_or_output(source):
    notebook = students(source)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert answers(source)
    for answer in answers(source):
        assert answer not in text
        lines = [line.strip() for line in answer.splitlines()]
        assert [line for line in lines if len(line) > 25 and line in text] == []
    assert not re.search(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)", text)
    for cell in notebooks.code_cells(notebook):
        assert cell.outputs == [] and cell.execution_count is None


@each_lab
def test_each_exercise_is_complete(source):
    """A goal, minutes, a difficulty, three hints, an answer cell and a check of one line."""
    master = notebooks.build(source)
    texts = "\n".join(cell.source for cell in master.cells if cell.cell_type == "markdown")
    parts = re.split(r"^(?=## \d)", texts, flags=re.MULTILINE)[1:]
    found = [EXERCISE.match(part) for part in parts]
    assert all(found), [part[:40] for part, one in zip(parts, found, strict=True) if not one]
    assert [int(one["number"]) for one in found] == list(range(1, len(found) + 1))
    assert 5 <= len(found) <= 7
    assert 45 <= sum(int(one["minutes"]) for one in found) <= 90
    for one in found:
        for hint in (1, 2, 3):
            assert one["text"].count(f"<details><summary>Hint {hint}</summary>") == 1
    graded = [cell for cell in master.cells if nbgrader.is_grade(cell)]
    assert [cell.metadata.nbgrader.points for cell in graded] == [
        int(o["difficulty"]) for o in found
    ]
    lesson = checks.LESSONS[int(source.stem[:2])]
    made = [name for name, one in vars(lesson).items() if isinstance(one, checks.Check)]
    assert [re.fullmatch(r"checks\.(\w+)\(\w+\)", cell.source)[1] for cell in graded] == made
    solutions = [cell for cell in master.cells if nbgrader.is_solution(cell)]
    assert len(solutions) == len(found) == len(answers(source))


@each_lab
def test_the_stated_time_is_the_sum(source):
    text = source.read_text("utf-8")
    minutes = sum(int(n) for n in re.findall(r"\*\*(\d+) minutes, difficulty", text))
    assert f"**Time** about {minutes} minutes" in text
