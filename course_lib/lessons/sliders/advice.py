"""Which technique to try first: a decision table, and questions that look it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from course_lib.lessons.sliders.charts import State
from course_lib.lessons.sliders.static import Control
from course_lib.lessons.sliders.wiring import Explorer, explore


@dataclass(frozen=True)
class Advice:
    """A row of the decision table: under these circumstances, try this first, because of that."""

    when: Mapping[str, str]  # question → answer; questions that are left out do not matter
    first: str
    because: str


def advise(rows: Sequence[Advice], answers: Mapping[str, str]) -> Advice:
    """The first row whose circumstances are all met. Explained in lesson 5.

    Raises:
        ValueError: no row fits.

    Example:
        >>> rows = [Advice({"goal": "small"}, "int8", "4 × smaller"), Advice({}, "layers", "faster")]
        >>> advise(rows, {"goal": "small", "data": "none"}).first
        'int8'
    """
    for row in rows:
        if all(answers.get(question) == answer for question, answer in row.when.items()):
            return row
    raise ValueError(f"No row of the table fits {dict(answers)}; let the last row ask for nothing.")


def decision_table(questions: Sequence[str], rows: Sequence[Advice]) -> str:
    """HTML: the decision table; "any" where a question does not matter. Lesson 5."""
    left = 'style="text-align:left"'

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(f"<{tag} {left}>{escape(cell)}</{tag}>" for cell in cells)

    body = [line("th", [*questions, "try first", "because"])]
    for row in rows:
        body.append(
            line("td", [*(row.when.get(q, "any") for q in questions), row.first, row.because])
        )
    return f"<table>{''.join(f'<tr>{cells}</tr>' for cells in body)}</table>"


def advice_view(rows: Sequence[Advice], answers: Mapping[str, str]) -> State:
    """What the table says to these answers: question → answer. See `advise`."""
    row = advise(rows, answers)
    return State(
        f"Try first: <b>{escape(row.first)}</b><br>{escape(row.because)}",
        f"Try first: {row.first}: {row.because}",
    )


def chooser(questions: Mapping[str, Sequence[str]], rows: Sequence[Advice]) -> Explorer:
    """Questions with some answers each, and what the decision table says to them. Lesson 5."""
    menus = [
        Control(question, answers[0], {answer: answer for answer in answers}, "menu")
        for question, answers in questions.items()
    ]
    return explore(
        menus,
        lambda *chosen: advice_view(rows, dict(zip(questions, chosen, strict=True))),
        height=80,
    )
