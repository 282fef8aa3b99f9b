"""Many compressed models in one picture: which are worth having, and which technique to try first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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

    everyone = list(variants.values())
    return [
        key for key, one in variants.items() if not any(_beats(other, one) for other in everyone)
    ]


def _beats(one: Variant, other: Variant) -> bool:
    """Whether it is at least as small, as fast and as good, and not the same."""
    mine, its = ((v.bytes, v.milliseconds, -v.accuracy.value) for v in (one, other))
    return mine != its and mine[0] <= its[0] and mine[1] <= its[1] and mine[2] <= its[2]


def explorer_view(
    variants: Mapping[Any, Variant], at: Any, marked: Mapping[str, Variant] | None = None
) -> str:
    """HTML: accuracy over size and over latency for all variants, the one `at` this place in orange.

    Blue ones are on the front (`pareto`), grey ones are beaten by another: below the picture stands by
    which. Lines are 95 % intervals.

    Args:
        variants: key → variant.
        at: the key of the chosen one.
        marked: some more, drawn as diamonds with their names; the front is drawn without them
            (default: none).

    Raises:
        ValueError: there is no such variant.
    """
    if at not in variants:
        raise ValueError(f"There is no variant at {at}; there are {len(variants)} others.")
    return _view(variants, marked or {})(at)


def _view(variants: Mapping[Any, Variant], marked: Mapping[str, Variant]) -> Callable[[Any], str]:
    """What `explorer_view` shows, as a function of the chosen variant alone: all else is drawn once."""
    front = {key: variants[key] for key in pareto(variants)}
    everyone = [*variants.values(), *marked.values()]
    low = min(one.accuracy.interval[0] for one in everyone)
    high = max(one.accuracy.interval[1] for one in everyone)
    scales = [
        _Scale(left, title, [cost(one) for one in everyone], cost)
        for left, title, cost in (
            (50, "megabytes", lambda one: one.bytes / 1e6),
            (400, "milliseconds", lambda one: one.milliseconds),
        )
    ]

    def mark(one: Variant, colour: str, strength: float, radius: int) -> str:
        return "".join(
            _mark(one, scale, (low, high), (colour, strength, radius)) for scale in scales
        )

    # Those on the front lie on top of the others.
    drawn = [mark(one, GREY, 0.25, 4) for key, one in variants.items() if key not in front]
    drawn += [mark(one, BLUE, 0.25, 4) for one in front.values()]
    drawn += [_frame(scale, low, high) + _named(marked, scale, (low, high)) for scale in scales]
    below = "".join(drawn)
    named = ", diamonds: named" if marked else ""

    def view(at: Any) -> str:
        words = f"{_words(variants[at])}: {_verdict(variants[at], front.values())}"
        return (
            f'<svg viewBox="0 0 690 250" width="690" role="img" aria-label="{escape(words)}"><g '
            f'font-size="12" fill="currentColor"><text x="50" y="14">accuracy of {len(variants)} '
            f"variants: blue: not beaten by any other, grey: beaten, orange: yours{named}</text>"
            f"{below}{mark(variants[at], ORANGE, 1, 8)}</g></svg><div>{escape(words)}</div>"
        )

    return view


@dataclass(frozen=True)
class _Scale:
    """A panel of the picture: where it begins, and how a cost becomes a place in it."""

    left: int
    title: str
    costs: Sequence[float]
    cost: Callable[[Variant], float]

    def x(self, one: Variant) -> float:
        least, most = min(self.costs), max(self.costs)
        return (
            self.left + 10 + 250 * math.log(self.cost(one) / least) / (math.log(most / least) or 1)
        )


def _height(accuracy: float, ends: tuple[float, float]) -> float:
    return 220 - 190 * (accuracy - ends[0]) / ((ends[1] - ends[0]) or 1.0)


def _mark(
    one: Variant, scale: _Scale, ends: tuple[float, float], style: tuple[str, float, int]
) -> str:
    """A variant as a circle on the line of its interval."""
    bottom, top = (_height(end, ends) for end in one.accuracy.interval)
    colour, strength, radius = style
    return (
        f'<path d="M{scale.x(one):.0f} {top:.0f}V{bottom:.0f}" stroke="{colour}" '
        f'stroke-opacity="{strength}"/><circle cx="{scale.x(one):.0f}" '
        f'cy="{_height(one.accuracy.value, ends):.0f}" r="{radius}" fill="{colour}"/>'
    )


def _named(marked: Mapping[str, Variant], scale: _Scale, ends: tuple[float, float]) -> str:
    """The marked variants, as diamonds with their names, no name on top of another."""
    drawn: list[str] = []
    places: list[tuple[float, float]] = []
    for name, one in marked.items():
        x, y = scale.x(one), _height(one.accuracy.value, ends)
        bottom, top = (_height(end, ends) for end in one.accuracy.interval)
        # Beside its point, on the side where there is room, and below another name.
        side, height = (9 if x < scale.left + 60 else -9), y - 6
        while any(abs(x - a) < 90 and abs(height - b) < 13 for a, b in places):
            height += 13
        places.append((x, height))
        drawn.append(
            f'<path d="M{x:.0f} {top:.0f}V{bottom:.0f}" stroke="currentColor"/><path '
            f'd="M{x - 6:.0f} {y:.0f}l6 -6l6 6l-6 6z"/><text x="{x + side:.0f}" y="{height:.0f}" '
            f'font-weight="bold" text-anchor="{"end" if side < 0 else "start"}">{escape(name)}</text>'
        )
    return "".join(drawn)


def _frame(scale: _Scale, low: float, high: float) -> str:
    left = scale.left
    return (
        f'<rect x="{left}" y="24" width="270" height="202" fill="none" stroke="{GREY}"/>'
        f'<text x="{left}" y="242">{min(scale.costs):.3g}</text><text x="{left + 270}" y="242" '
        f'text-anchor="end">{max(scale.costs):.3g}</text><text x="{left + 135}" y="242" '
        f'text-anchor="middle">{scale.title} (logarithmic)</text><text x="{left - 4}" y="34" '
        f'text-anchor="end">{100 * high:.0f} %</text><text x="{left - 4}" y="224" text-anchor="end">'
        f"{100 * low:.0f} %</text>"
    )


def _verdict(one: Variant, front: Iterable[Variant]) -> str:
    better = [other for other in front if _beats(other, one)]
    if not better:
        return "not beaten by any other"
    best = max(better, key=lambda other: other.accuracy.value)
    return f"another one beats it, such as {_words(best)}"


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
    picture, view = fixed_html("course-compression", "310px"), _view(variants, marked or {})

    def update(*at: float) -> None:
        picture.value = view(at)

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
