"""A claim: a statement, a quantity with its interval, and a margin that was written down before.

One function, `verdict`, decides from the interval and the margin, in every lesson.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

MIME = "application/vnd.course.claims+json"
MARKS = {"holds": "✓", "does not hold": "✗", "cannot tell": "?"}  # a sign, not a color alone
SIDES = ("above", "below", "within")
FRACTIONS = {"%": "", "points": "+"}  # units that show a fraction times 100, and its sign
LEFT = 'style="text-align:left"'


def verdict(interval: tuple[float, float], margin: float, side: str = "above") -> str:
    """Whether a claim holds, by the interval of the measured quantity and the margin alone.

    ======== ===================== ========================= ================
    side     "holds"               "does not hold"           "cannot tell"
    ======== ===================== ========================= ================
    above    low > margin          high < margin             otherwise
    below    high < margin         low > margin              otherwise
    within   −margin < low and     low > margin or           otherwise
             high < margin         high < −margin
    ======== ===================== ========================= ================

    An interval that touches the margin contains it, so the verdict is "cannot tell". The same goes for
    an interval with an end that is NaN or infinite.

    Args:
        interval: (low, high) of the quantity. An exact number x has the interval (x, x).
        margin: in the unit of the interval; for "within" above 0: the largest difference that counts
            as none.
        side: "above", "below" or "within" (a claim of equivalence: the quantity is about 0).

    Raises:
        ValueError: the ends of the interval are reversed, the margin is not a finite number (or not
            above 0 for "within"), or the side is unknown.

    Example:
        >>> verdict((0.004, 0.022), margin=0.0), verdict((-0.022, -0.004), margin=0.0)
        ('holds', 'does not hold')
        >>> verdict((-0.004, 0.022), margin=0.0), verdict((-0.004, 0.008), margin=0.01, side="within")
        ('cannot tell', 'holds')
    """
    low, high = interval
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; expected one of {', '.join(SIDES)}.")
    if not math.isfinite(margin) or (side == "within" and margin <= 0):
        least = " above 0" if side == "within" else ""
        raise ValueError(f"margin is {margin}; expected a finite number{least}.")
    if low > high:
        raise ValueError(f"The interval is ({low}, {high}); expected its lower end first.")
    if not (math.isfinite(low) and math.isfinite(high)):
        return "cannot tell"
    if side == "within":
        inside, outside = -margin < low and high < margin, low > margin or high < -margin
    else:
        inside, outside = low > margin, high < margin
        if side == "below":
            inside, outside = outside, inside
    return "holds" if inside else "does not hold" if outside else "cannot tell"


@dataclass(frozen=True)
class Claim:
    """What a lesson states, what was measured, and the margin; the verdict follows from these.

    Attributes:
        statement: in one sentence.
        value, low, high: the quantity and its interval.
        margin, side: see `verdict`.
        unit: how the numbers are shown, see `Claims.add`.
        source: who says so, with the section or table.
        n: how many examples it was measured on (None: not counted).
        over: what else its interval is about: "3 seeds", or "30 rounds" of a stopwatch.
    """

    statement: str
    value: float
    low: float
    high: float
    margin: float
    side: str = "above"
    unit: str = ""
    source: str = "this course"
    n: int | None = None
    over: str = ""

    @property
    def counted(self) -> str:
        """How much it was measured on: "2,000, 3 seeds", "30 rounds", or "–"."""
        n = "" if self.n is None else f"{self.n:,}"
        return ", ".join(filter(None, [n, self.over])) or "–"

    @property
    def verdict(self) -> str:
        return verdict((self.low, self.high), self.margin, self.side)

    @property
    def measured(self) -> str:
        """The quantity as a person reads it: "+1.3 points (+0.4 to +2.2)".

        Where an end would round to the margin, all three numbers get more digits: the verdict is about
        the difference.
        """
        more = self._more_digits
        value = _number(self.value, self.unit, more)
        shown = f"{value} {self.unit}".strip()
        if self.low == self.value == self.high:
            return shown
        low, high = (_number(end, self.unit, more) for end in (self.low, self.high))
        to = "–" if self.unit != "points" and self.low >= 0 else " to "
        return f"{shown} ({low}{to}{high})"

    @property
    def _more_digits(self) -> int:
        """The fewest digits, at most two, that tell the ends from the margin; 0 where none do."""
        margins = (-self.margin, self.margin) if self.side == "within" else (self.margin,)
        pairs = [(end, edge) for end in (self.low, self.high) for edge in margins if end != edge]
        for more in range(3):
            shown = ([_number(one, self.unit, more) for one in pair] for pair in pairs)
            if all(end != edge for end, edge in shown):
                return more
        return 0

    @property
    def claimed(self) -> str:
        """The margin as a person reads it: "above -1 point"."""
        shown = 100 * self.margin if self.unit in FRACTIONS else self.margin
        sign = "± " if self.side == "within" else "+" * (self.unit == "points" and shown > 0)
        unit = "point" if self.unit == "points" and abs(self.margin) == 0.01 else self.unit
        return f"{self.side} {sign}{shown:,.6g} {unit}".strip()

    def __str__(self) -> str:
        n = "" if self.n is None else f", n = {self.n:,}"
        return (
            f"{MARKS[self.verdict]} {self.verdict}: {self.statement}\n"
            f"  claimed: {self.claimed}; measured: {self.measured}{n}"
        )

    def _repr_html_(self) -> str:
        first, _, second = str(self).partition("\n")
        return f"<b>{escape(first)}</b><br><small>{escape(second.strip())}</small>"


class Claims(list[Claim]):
    """The claims of one lesson: a list that shows itself as a table, once, at the lesson's end.

    Args:
        tests: each `TestSet` of the lesson, or anything else with `models` and a `summary` of them.
            Below the table stands how many models were scored on each.
        shown: how many claims the page shows; the others are folded below them (default: all).

    Example:
        >>> claims = Claims()
        >>> gap = dict(value=(0.013, 0.004, 0.022), margin=-0.01, unit="points")
        >>> print(claims.add("At 97 % sparsity it stays within 1 point of the dense network", **gap))
        ✓ holds: At 97 % sparsity it stays within 1 point of the dense network
          claimed: above -1 point; measured: +1.3 points (+0.4 to +2.2)
    """

    def __init__(self, *tests: Any, shown: int | None = None) -> None:
        super().__init__()
        self.tests, self.shown = tests, shown

    def add(
        self,
        statement: str,
        *,
        value: Any,
        margin: float,
        side: str = "above",
        unit: str = "",
        source: str = "this course",
        n: int | None = None,
    ) -> Claim:
        """State something, judge it by what was measured, and return the claim.

        A statement with several parts is several claims. A second claim with the same statement
        replaces the first, so that a cell may run again.

        Args:
            statement: in one sentence.
            value: what was measured: anything with ``.value`` and ``.interval`` (low, high), the
                three numbers (value, low, high), or one exact number.
            margin, side: see `verdict`. The margin is in the unit of the value: 0.01 is one point.
            unit: "%" and "points" show fractions times 100, points with their sign; any other text,
                such as "×" or "ms", stands behind the number as it is.
            source: who says so, with the section or table.
            n: how many examples it was measured on; by default what ``value.n`` says, if it does. The
                claim also takes ``value.seeds`` or ``value.rounds``, where there are any.

        Raises:
            ValueError: as `verdict`, or a margin that is no fraction although the unit asks for one.
            TypeError: the value is none of the above.
        """
        if unit in FRACTIONS and abs(margin) >= 1:
            raise ValueError(
                f"margin is {margin} and the unit {unit!r}; expected a fraction, as in the intervals: "
                f"{margin / 100:g} for {margin:g} {unit}."
            )
        measured, low, high = _quantity(value)
        n = getattr(value, "n", None) if n is None else n
        claim = Claim(
            statement=statement,
            value=measured,
            low=low,
            high=high,
            margin=float(margin),
            side=side,
            unit=unit,
            source=source,
            n=None if n is None else int(n),
            over=_over(value),
        )
        claim.verdict  # noqa: B018  an interval or a margin that cannot be judged raises here
        places = [i for i, one in enumerate(self) if one.statement == statement]
        if places:
            self[places[0]] = claim
        else:
            self.append(claim)
        return claim

    @property
    def scored(self) -> str:
        """How many models were scored on each test set, in sentences; "" without a test set."""
        return " ".join(test.summary for test in self.tests)

    def __repr__(self) -> str:
        return "\n".join([*map(str, self), *filter(None, [self.scored])]) or "no claims yet"

    def _repr_html_(self) -> str:
        below = "".join(_small_print(test.summary) for test in self.tests)
        folded = [] if self.shown is None else self[self.shown :]
        if not folded:
            return _table(self) + below
        more = f"<details><summary>{len(folded)} more</summary>{_table(folded)}</details>"
        return _table(self[: self.shown]) + more + below

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        rows = [{key: _storable(value) for key, value in asdict(one).items()} for one in self]
        models = [name for test in self.tests for name in test.models]
        data = {"claims": rows, "models": models}
        return {MIME: data, "text/html": self._repr_html_(), "text/plain": repr(self)}


def _small_print(summary: str, longest: int = 240) -> str:
    """How many models were scored; a long list of their names is folded away."""
    said, _, names = summary.partition(": ")
    if len(summary) <= longest:
        return f"<p><small>{escape(summary)}</small></p>"
    folded = f"<summary><small>{escape(said)}</small></summary><small>{escape(names)}</small>"
    return f"<details>{folded}</details>"


def shown_in(notebook: str | Path | Mapping[str, Any]) -> list[Claim]:
    """The claims in the last table that an executed notebook shows; an empty list without one.

    Args:
        notebook: its path, or what `nbformat.read` returned.

    Raises:
        FileNotFoundError: there is no such notebook.
    """
    loaded = (
        notebook if isinstance(notebook, Mapping) else json.loads(Path(notebook).read_text("utf-8"))
    )
    cells = loaded["cells"]
    outputs = (out for cell in cells for out in cell.get("outputs", ()))
    tables = [out["data"][MIME] for out in outputs if MIME in out.get("data", {})]
    return [_read(row) for row in tables[-1]["claims"]] if tables else []


def _read(row: dict[str, Any]) -> Claim:
    """A claim from its stored form, in which a number that is not finite is None."""
    ends = {key: math.nan if row[key] is None else row[key] for key in ("value", "low", "high")}
    return Claim(**(row | ends))


def _storable(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _quantity(value: Any) -> tuple[float, float, float]:
    """(value, low, high) of what was measured."""
    if hasattr(value, "interval") and hasattr(value, "value"):
        numbers = (value.value, *value.interval)
    elif isinstance(value, tuple | list):
        numbers = tuple(value)
    else:
        numbers = (value,) * 3
    try:
        measured, low, high = (float(number) for number in numbers)
    except (TypeError, ValueError):
        raise TypeError(
            f"value is {value!r}; expected a result with .value and .interval, the three numbers "
            "(value, low, high), or one exact number."
        ) from None
    return measured, low, high


def _over(value: Any) -> str:
    """What a measured quantity's interval is over, besides its examples."""
    counts = {word: getattr(value, word, None) for word in ("seeds", "rounds")}
    said = {word: word[:-1] if count == 1 else word for word, count in counts.items()}
    return ", ".join(f"{count} {said[word]}" for word, count in counts.items() if count)


def _number(number: float, unit: str, more: int = 0) -> str:
    """A number for people: one digit behind the point for percent and points, else three digits.

    Args:
        more: digits on top of these.

    >>> _number(0.0134, "points"), _number(0.948, "%"), _number(1.0, "×"), _number(12345, "bytes")
    ('+1.3', '94.8', '1', '12,345')
    """
    if not math.isfinite(number):
        return "unknown" if math.isnan(number) else f"{number}".replace("inf", "∞")
    if unit in FRACTIONS:
        return f"{100 * number:{FRACTIONS[unit]}.{1 + more}f}"
    return f"{number:,.{more}f}" if abs(number) >= 1000 else f"{number:.{3 + more}g}"


def _table(claims: Iterable[Claim]) -> str:
    titles = ("Claim", "Holds if it is", "Measured", "n", "Verdict", "Source")
    head = "".join(f'<th scope="col" {LEFT}>{title}</th>' for title in titles)
    rows = [f"<tr>{head}</tr>"]
    for one in claims:
        verdict = f"{MARKS[one.verdict]}\N{NO-BREAK SPACE}{one.verdict}"
        texts = (one.statement, one.claimed, one.measured, one.counted, verdict, one.source)
        rows.append("<tr>" + "".join(f"<td {LEFT}>{escape(text)}</td>" for text in texts) + "</tr>")
    return f'<table class="course-claims">{"".join(rows)}</table>'
