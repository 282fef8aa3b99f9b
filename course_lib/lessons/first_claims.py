"""A claim is a statement of the course, shown beside what was measured and what its source says.

Each number or ordering that a lesson states is made by a cell that ends in `claims.add(...)`. The
notebook tool reads the claims back from the executed lesson, so that none can rot unseen.

Used by lessons 2 to 5 until their second editions; `lessons.claims` replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

MIME = "application/vnd.course.claim+json"
MARKS = {"holds": "✓", "holds in part": "◐", "does not hold": "✗"}  # a sign, not a color alone
VERDICTS = {True: "holds", False: "does not hold", "in part": "holds in part"}
ALIGN = 'style="text-align:left"'


@dataclass(frozen=True)
class Claim:
    """What the course says, where it comes from, what was measured, and whether it holds."""

    statement: str
    source: str
    measured: str
    verdict: str
    n: int | None = None

    def __str__(self) -> str:
        statement, _, measured, verdict = _texts(self)
        return f"{verdict}: {statement}\n  measured: {measured}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {MIME: asdict(self), "text/html": _table([self]), "text/plain": str(self)}


class Claims(list[Claim]):
    """The claims of one lesson: a list that shows itself as a table.

    Example:
        >>> claims = Claims()
        >>> print(claims.add("3 of 10 are zero", source="definition", measured="3", holds=True, n=10))
        ✓ holds: 3 of 10 are zero
          measured: 3 (n = 10)
        >>> len(claims)
        1
    """

    def add(
        self,
        statement: str,
        *,
        source: str,
        measured: object,
        holds: Any,
        n: int | None = None,
        must: bool = False,
    ) -> Claim:
        """State something, say whether the measurement bears it out, and return the claim.

        Args:
            statement: in one sentence.
            source: who says so, with the section or table.
            measured: what came out here.
            holds: True, False or "in part"; "does not hold" is a result like any other.
            n: how many examples it was measured on.
            must: for what only an error in the code can break: raises unless it holds.

        Raises:
            ValueError: `holds` is something else.
            AssertionError: it must hold and does not.
        """
        try:
            verdict = VERDICTS[holds]  # NumPy's booleans find their way too: they equal Python's
        except (KeyError, TypeError):
            message = (
                f'holds is True, False or "in part", but {holds!r} came: wrap a tensor in bool()'
            )
            raise ValueError(message) from None
        if must and verdict != "holds":
            raise AssertionError(f"this claim must hold: {statement}; measured: {measured}")
        self.append(Claim(statement, source, str(measured), verdict, n and int(n)))
        return self[-1]

    def _repr_html_(self) -> str:
        return _table(self)


def shown_in(notebook: str | Path) -> list[Claim]:
    """The claims that the executed cells of a notebook show, in order.

    Raises:
        FileNotFoundError: there is no such notebook.
    """
    cells = json.loads(Path(notebook).read_text("utf-8"))["cells"]
    outputs = (out for cell in cells for out in cell.get("outputs", ()))
    return [Claim(**out["data"][MIME]) for out in outputs if MIME in out.get("data", {})]


def _table(claims: Iterable[Claim]) -> str:
    titles = ("Claim", "Source", "Measured here", "Verdict")
    rows = ["".join(f'<th scope="col" {ALIGN}>{title}</th>' for title in titles)]
    for one in claims:
        rows.append("".join(f"<td {ALIGN}>{escape(text)}</td>" for text in _texts(one)))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="course-claims">{body}</table>'


def _texts(one: Claim) -> tuple[str, str, str, str]:
    measured = one.measured if one.n is None else f"{one.measured} (n = {one.n:,})"
    return one.statement, one.source, measured, f"{MARKS[one.verdict]} {one.verdict}"
