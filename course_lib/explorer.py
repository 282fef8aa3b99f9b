"""Many compressed models in one picture: which are worth having, and which technique to try first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets

from course_lib.measure import Accuracy, Runs
from course_lib.plots import BLUE, GREY, ORANGE
from course_lib.widgets import fixed_html, live


@dataclass(frozen=True)
class Variant:
    """A compressed model as the picture shows it. Lesson 5.

    Attributes:
        name: for people.
        bytes: of its file.
        milliseconds: median latency; of all variants on the same batch, in one run.
        accuracy: all on the same examples.
    """

    name: str
    bytes: int
    milliseconds: float
    accuracy: Accuracy | Runs


def pareto(variants: Mapping[Any, Variant]) -> list[Any]:
    """The variants that no other one beats: none is as good in all three respects and better in one.

    The smallest, the fastest and the most accurate are among them. Explained in lesson 5.

    Example:
        >>> a = Variant("a", 10, 2.0, Accuracy(90, 100))
        >>> b = Variant("b", 20, 2.0, Accuracy(90, 100))
        >>> c = Variant("c", 20, 3.0, Accuracy(95, 100))
        >>> pareto({"a": a, "b": b, "c": c})
        ['a', 'c']
    """

    def costs(one: Variant) -> tuple[float, float, float]:
        return one.bytes, one.milliseconds, -one.accuracy.value

    def beaten(one: Variant) -> bool:
        mine = costs(one)
        others = map(costs, variants.values())
        return any(
            theirs != mine and all(t <= m for t, m in zip(theirs, mine, strict=True))
            for theirs in others
        )

    return [key for key, one in variants.items() if not beaten(one)]


def explorer_view(
    variants: Mapping[Any, Variant], at: Any, marked: Mapping[str, Variant] | None = None
) -> str:
    """HTML: accuracy over size and over latency for all variants, the one `at` this place in orange.

    Blue ones are on the front (`pareto`), grey ones are beaten by another. Lines are 95 % intervals.

    Args:
        variants: key → variant.
        at: the key of the chosen one.
        marked: some more, which stand in the picture with their names (default: none).

    Raises:
        ValueError: there is no such variant.
    """
    if at not in variants:
        raise ValueError(f"There is no variant at {at}; there are {len(variants)} others.")
    chosen, names = variants[at], {("marked", name): name for name in marked or {}}
    variants = {**variants, **{key: (marked or {})[name] for key, name in names.items()}}
    front = set(pareto(variants))
    low = min(v.accuracy.interval[0] for v in variants.values())
    high = max(v.accuracy.interval[1] for v in variants.values())
    panels = []
    for left, title, cost in (
        (50, "megabytes", {key: v.bytes / 1e6 for key, v in variants.items()}),
        (400, "milliseconds", {key: v.milliseconds for key, v in variants.items()}),
    ):
        least, most = min(cost.values()), max(cost.values())
        span = math.log(most / least) or 1.0
        marks: list[str] = []
        labels: list[tuple[float, float]] = []  # where names stand
        # The chosen one last, on top of all.
        for key in sorted(variants, key=lambda key: (key == at, key in front)):
            accuracy = variants[key].accuracy
            x = left + 10 + 250 * math.log(cost[key] / least) / span
            top, bottom, y = (
                220 - 190 * (value - low) / ((high - low) or 1.0)
                for value in (*reversed(accuracy.interval), accuracy.value)
            )
            colour = ORANGE if key == at else BLUE if key in front else GREY
            marks.append(
                f'<path d="M{x:.0f} {top:.0f}V{bottom:.0f}" stroke="{colour}" '
                f'stroke-opacity="{1 if key == at else 0.25}"/>'
                f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{8 if key == at else 4}" fill="{colour}"/>'
            )
            if key in names:
                # Beside its point, on the side where there is room, and below another name.
                end, height = x > left + 200, y - 6
                while any(abs(x - a) < 90 and abs(height - b) < 13 for a, b in labels):
                    height += 13
                labels.append((x, height))
                marks.append(
                    f'<text x="{x + (-8 if end else 8):.0f}" y="{height:.0f}" font-weight="bold" '
                    f'text-anchor="{"end" if end else "start"}">{escape(names[key])}</text>'
                )
        panels.append(
            f'<rect x="{left}" y="24" width="270" height="202" fill="none" stroke="{GREY}"/>'
            f'{"".join(marks)}<text x="{left}" y="242">{least:.3g}</text><text x="{left + 270}" '
            f'y="242" text-anchor="end">{most:.3g}</text><text x="{left + 135}" y="242" '
            f'text-anchor="middle">{title} (logarithmic)</text><text x="{left - 4}" y="34" '
            f'text-anchor="end">{high:.0%}</text><text x="{left - 4}" y="224" text-anchor="end">'
            f"{low:.0%}</text>"
        )
    verdict = "not beaten by any other" if at in front else "another one beats it"
    label = f"{_words(chosen)}; {verdict}"
    return (
        f'<svg viewBox="0 0 690 250" width="690" role="img" aria-label="{escape(label)}"><g '
        f'font-size="12" fill="currentColor"><text x="50" y="14">accuracy of {len(variants)} '
        f"variants: blue: not beaten by any other, grey: beaten, orange: yours</text>"
        f"{''.join(panels)}</g></svg><div><b>{escape(_words(chosen))}</b>: {verdict}</div>"
    )


def compression_explorer(
    variants: Mapping[tuple, Variant],
    names: Sequence[str],
    marked: Mapping[str, Variant] | None = None,
) -> ipywidgets.VBox:
    """A slider for each technique over a grid of variants that were made before. Lesson 5.

    They start at the largest variant.

    Args:
        variants: one value for each slider → the variant that was made with them.
        names: of the sliders.
        marked: more variants, which no slider reaches; see `explorer_view`.

    Raises:
        ValueError: the grid has holes.
    """
    values = [sorted({key[i] for key in variants}) for i in range(len(names))]
    if math.prod(map(len, values)) != len(variants):
        raise ValueError(
            f"The sliders have {math.prod(map(len, values))} positions, and there are "
            f"{len(variants)} variants; give one for each."
        )
    start = max(variants, key=lambda key: variants[key].bytes)  # nothing compressed yet
    sliders = [
        ipywidgets.SelectionSlider(
            options=options,
            value=value,
            description=name,
            style={"description_width": "130px"},
            layout=ipywidgets.Layout(width="520px"),
        )
        for name, options, value in zip(names, values, start, strict=True)
    ]
    picture = fixed_html("course-compression", "290px")

    def update(*at: float) -> None:
        picture.value = explorer_view(variants, at, marked)

    live(sliders, update, picture)
    return ipywidgets.VBox([*sliders, picture])


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


def chooser(questions: Mapping[str, Sequence[str]], rows: Sequence[Advice]) -> ipywidgets.VBox:
    """Questions with some answers each, and what the decision table says to them. Lesson 5."""
    menus = [
        ipywidgets.Dropdown(
            options=list(options), description=question, style={"description_width": "130px"}
        )
        for question, options in questions.items()
    ]
    answer = fixed_html("course-advice", "80px")

    def update(*chosen: str) -> None:
        row = advise(rows, dict(zip(questions, chosen, strict=True)))
        answer.value = f"Try first: <b>{escape(row.first)}</b><br>{escape(row.because)}"

    live(menus, update, answer)
    return ipywidgets.VBox([*menus, answer])


def _words(one: Variant) -> str:
    return f"{one.name}: {one.bytes / 1e6:.2f} MB, {one.milliseconds:.3g} ms, {one.accuracy}"
