"""How a check works: it looks at what an answer does, and at what known wrong answers would do.

A `Check` holds one right answer as text. Each known mistake is a small edit of that text. The
learner's answer, the right one and the edited ones are tried on the same small inputs; where the
learner's does what a mistake does, the mistake is named. So hints, wrong answers and the
instructors' list of misconceptions are one list. `naming` says what happens if none fits exactly.
"""

from __future__ import annotations

import copy
import functools
import math
import re
import statistics
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import naming
from course_lib.checks.comparing import Range, agree, show, unchanged
from course_lib.checks.guarding import CHANGED, EMPTY, Mistake, Seen, Trouble, TroubleError, guarded
from course_lib.checks.recurring import slips

# What an exercise's first cell has imported.
IMPORTED = {
    **{"torch": torch, "nn": nn, "F": F, "copy": copy, "math": math, "np": np},
    **{"statistics": statistics, "binomtest": scipy.stats.binomtest, "stats": scipy.stats},
}
# Mistakes that recur, with words for all of them: in a list of mistakes, @stay stands for the second.
SHARED = {
    "upside": "In this course True means that it stays. Yours keeps what should go.",
    "stay": "`keep` names those that stay. You removed exactly these, and kept what should go.",
    "nan": "Padding can hold nan or infinity, and 0 · nan is nan. Index with the mask, or use "
    "torch.where, before you add up.",
    "rows": "The first dimension holds what that layer computes itself; what it reads from the "
    "layer before is the second.",
    "bias": "That bias belongs to what the next layer computes, and all of that stays.",
    "heldout": "Has it been trained since? If so: ask for less, or train longer. Decide on the "
    "validation part, with a margin: its accuracy has an interval, too.",
    "fit": "It gives the network and its history; the network is its attribute `model`.",
}


class WrongAnswerError(AssertionError):
    """An answer that does not hold. `mistake` is the name of the mistake, of the last lines.

    In a notebook it shows its message alone: a learner need not read our code's traceback.
    """

    def __init__(self, message: str, mistake: str) -> None:
        super().__init__(message)
        self.mistake = mistake

    def _render_traceback_(self) -> list[str]:  # IPython asks for this
        return str(self).splitlines()

    def without(self, title: str) -> list[str]:
        """The lines of the message but for one row: what a graded class must not see."""
        rows = re.split(r"\n(?=  \S)", str(self))
        return "\n".join(row for row in rows if not row.startswith(f"  {title} ")).splitlines()


@dataclass(frozen=True, repr=False)
class Check:
    """The check of one exercise: call it with the learner's answer.

    Attributes:
        name: of the learner's function or variable.
        right: an answer that holds, as text; of a variable its value, or what is then `Seen`.
        tries: what is tried, in words → a function that takes an answer and returns what came.
            Behind a "|" stands what is special about a try, if anything is.
        mistakes: the known ones, as `mistakes_of` reads them.
        checked, not_checked: what the tries cover and what they do not, for the learner.
        imported: names that the right answer needs besides `IMPORTED`.

    Raises:
        WrongAnswerError: what was tried, what came, what was expected, which known mistake it is.
        ValueError: when it is made, if an edit does not fit the right answer in exactly one place.

    Example:
        >>> double = Check(
        ...     name="double",
        ...     right="def double(x):\\n    return 2 * x",
        ...     tries={"double(3)": call(3)},
        ...     mistakes='''
        ...     x² for 2x | They agree at 2 alone.
        ...       2 * x => x**2
        ...     ''',
        ...     checked="one number",
        ...     not_checked="negative ones",
        ... )
        >>> double(lambda x: x + x)
        ✓ double
          checked      one number
          not checked  negative ones
        >>> double(lambda x: x * x)
        Traceback (most recent call last):
        ...
        course_lib.checks.checking.WrongAnswerError: double: not yet
          tried        double(3)
          came         9
          expected     6
          mistake      x² for 2x
                       They agree at 2 alone.
    """

    name: str
    right: Any
    tries: Mapping[str, Callable[[Any], Any]]
    mistakes: str
    checked: str
    not_checked: str
    imported: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for mistake in self.known:
            if not isinstance(mistake.wrong, Seen):
                edited(self.right, mistake)

    def __call__(self, answer: Any) -> None:
        __tracebackhide__ = True  # pytest shows the caller's line
        if wrong := self.find(answer):
            raise wrong from None
        # Printed, not returned: nbgrader takes a returned value for a partial grade.
        rows = {"checked": self.checked, "not checked": self.not_checked}
        goals = [what for what, one in self.expected.items() if isinstance(one, Range)]
        if goals:
            rows["came"] = "; ".join(f"{g} {show(self.tries[g](answer))}" for g in goals)
        print(f"✓ {self.name}", *(_row(*row) for row in rows.items()), sep="\n")

    def find(self, answer: Any) -> WrongAnswerError | None:
        """What is wrong with the answer, None if nothing is."""
        if isinstance(self.right, str) and not callable(answer):
            return self._wrong("the answer", show(answer), "a function", naming.NO_FUNCTION)
        expected, came = self.expected, self.look(answer)
        if list(came) == list(self.tries) and agree_all(came, expected):
            return None
        what, mistake = naming.named(self, came, answer)
        value = came[what]
        shown = value.came if isinstance(value, Trouble) else show(value)
        return self._wrong(what, shown, show(self.expected[what]), mistake)

    def look(self, answer: Any, ours: bool = False) -> dict[str, Any]:
        """What each try gives, a `Trouble` where it gives nothing; it ends where no more can come."""
        came: dict[str, Any] = {}
        for what, attempt in self.tries.items():
            came[what] = guarded(attempt, answer, ours)
            if isinstance(came[what], Trouble) and came[what].final:
                break
        return came

    @functools.cached_property
    def known(self) -> tuple[Mistake, ...]:
        return mistakes_of(textwrap.dedent(self.mistakes), self.tries)

    @functools.cached_property
    def slips(self) -> tuple[Mistake, ...]:
        """What goes wrong in any function, as edits of this one's right answer."""
        return slips(self.right) if isinstance(self.right, str) else ()

    @functools.cached_property
    def expected(self) -> dict[str, Any]:
        """What the tries give for the right answer: the same each time, so worked out once."""
        if isinstance(self.right, Seen):
            return self.right
        answer = self.made(self.right) if isinstance(self.right, str) else self.right
        return self.look(answer, ours=True)

    @functools.cached_property
    def _seen(self) -> dict[str, dict[str, Any]]:
        return {}

    def seen(self, *mistakes: Mistake) -> dict[str, Any]:
        """What the tries give for the right answer with these mistakes; {} if they do not fit."""
        if isinstance(mistakes[0].wrong, Seen):
            return mistakes[0].wrong
        try:
            source = functools.reduce(edited, mistakes, self.right)
        except ValueError:
            return {}
        if source not in self._seen:
            try:
                self._seen[source] = self.look(self.made(source), ours=True)
            except SyntaxError:  # of two edits in one place
                self._seen[source] = {}
        return self._seen[source]

    def gives(self, what: str, value: Any, *mistakes: Mistake) -> bool:
        """Whether these mistakes together give this value on one try: a quick look before `seen`."""
        try:
            answer = self.made(functools.reduce(edited, mistakes, self.right))
        except (ValueError, SyntaxError):
            return False
        return agree(value, guarded(self.tries[what], answer, ours=True))

    def made(self, source: str) -> Any:
        """The function that this text defines."""
        names = IMPORTED | dict(self.imported or {})
        exec(compile(source, f"<{self.name}>", "exec"), names)
        return names[self.name]

    def _wrong(self, what: str, came: str, expected: str, mistake: Mistake) -> WrongAnswerError:
        what = what.partition(" | ")[0]
        rows = {"tried": what, "came": came, "expected": expected, "mistake": mistake.name}
        lines = [_row(title, text) for title, text in (rows | {"": mistake.why}).items()]
        return WrongAnswerError("\n".join([f"{self.name}: not yet", *lines]), mistake.name)


def agree_all(came: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether each value that came is the expected one."""
    return all(agree(value, expected[what]) for what, value in came.items())


def mistakes_of(text: str, whats: Mapping[str, Any]) -> tuple[Mistake, ...]:
    """Read a list of mistakes.

    A line at the margin is a mistake's name and, behind a "|", why it matters; "@stay" stands for words
    of `SHARED`. Indented below it is the edit of the right answer that makes it: "what goes => what
    comes" within a line; over several lines, as in a diff, lines that begin with - and with +. Lines
    that begin with = are another body for the whole function. Lines that begin with ? say what comes
    of a try, which any part of its description names.

    Example:
        >>> (one,) = mistakes_of("T is lost | At 1 nobody sees it.\\n  logits / T => logits", {})
        >>> one.name, one.why, one.wrong
        ('T is lost', 'At 1 nobody sees it.', (('logits / T', 'logits'),))
    """
    found = []
    for block in re.split(r"\n(?=\S)", text.strip()):
        head, *lines = (line.removeprefix("  ") for line in block.split("\n"))
        name, _, why = head.partition(" | ")
        why = re.sub(r"@(\w+)", lambda match: SHARED[match[1]], why)
        patterns = [line[2:] for line in lines if line[:2] == "? "]
        wrong: Any = Seen(_pattern(pattern, whats) for pattern in patterns) or _edits(lines)
        found.append(Mistake(name, why, wrong))
    return tuple(found)


def _edits(lines: list[str]) -> tuple[tuple[str | None, str], ...]:
    """(what goes, what comes), in order; (None, the new body)."""
    body = "\n".join(line[2:] for line in lines if line[:2] == "= " and "=>" not in line)
    if body:
        return ((None, body),)
    diff = "".join("- {}\n+ {}\n".format(*x.split("=>")) if "=>" in x else f"{x}\n" for x in lines)
    groups = re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", diff, re.M)
    return tuple((_unmarked(old), _unmarked(new)) for old, new in groups)


def _unmarked(lines: str) -> str:
    return re.sub(r"^[-+] ?", "", lines, flags=re.M).strip()


def _pattern(line: str, whats: Mapping[str, Any]) -> tuple[str, Any]:
    """ "its size: 0 to 0.9" → the description of the try that it names, and a `Range`."""
    part, _, text = line.rpartition(": ")
    if part == naming.BEFORE:
        return part, text
    fitting = [what for what in whats if part in what]
    if len(fitting) != 1:
        raise ValueError(f"{part!r} must name one try; it names {fitting}")
    ends = re.fullmatch(r"([-\d.e]+) to ([-\d.e]+)", text)
    if ends:
        return fitting[0], Range(float(ends[1]), float(ends[2]))
    if text in ("yes", "no"):
        return fitting[0], text == "yes"
    return fitting[0], float(text) if re.fullmatch(r"[-\d.]+", text) else text


def edited(source: str, mistake: Mistake) -> str:
    """The text with a mistake in it.

    Example:
        >>> print(edited("def f(x):\\n    return 2 * x", Mistake("", "", (("2 * x", "x"),))))
        def f(x):
            return x
    """
    for old, new in mistake.wrong:
        if old is None:
            head = source.strip().split("\n")[0]
            source = "\n".join([head, textwrap.indent(new, "    ")])
            continue
        if source.count(old) != 1:
            raise ValueError(
                f"{mistake.name!r}: {old!r} stands {source.count(old)} times in\n{source}"
            )
        gone = re.sub(r"^ *\n", "", source.replace(old, new), flags=re.M) if not new else None
        source = gone if gone is not None else source.replace(old, new)
    return source


def _row(title: str, text: str) -> str:
    return textwrap.fill(text, 92, initial_indent=f"  {title:13}", subsequent_indent=15 * " ")


# --- tries ----------------------------------------------------------------------------------------


def call(*given: Any) -> Callable[[Any], Any]:
    """A try that calls the answer with copies of these arguments, and sees to it that they stay."""

    def attempt(answer: Callable[..., Any]) -> Any:
        copies = copy.deepcopy(given)
        value = answer(*copies)
        if not unchanged(given, copies):
            raise TroubleError(CHANGED, "your answer, and another input than was given")
        if value is None or value is ...:
            raise TroubleError(EMPTY, str(value))
        return value

    return attempt


def calls(rows: Mapping[str, tuple[Any, ...]]) -> Callable[[Any], Any]:
    """A try that calls the answer many times: words → arguments. What comes has the same words.

    Example:
        >>> calls({"two": (2,), "three": (3,)})(lambda x: x * x)
        {'two': 4, 'three': 9}
    """
    return lambda answer: {words: call(*given)(answer) for words, given in rows.items()}


def slopes(
    of: Callable[..., Mapping[str, Tensor]],
    *given: Any,
    make: Callable[[], tuple[Any, ...]] | None = None,
) -> Callable[[Any], Any]:
    """A try of a loss: its gradient by some of the tensors that go in.

    `of(*given)` names these tensors; or `make()` gives arguments afresh, where they cannot be copied.
    """

    def attempt(answer: Callable[..., Any]) -> dict[str, Any]:
        copies = make() if make else copy.deepcopy(given)
        tensors = of(*copies)
        for tensor in tensors.values():
            tensor.requires_grad_()
        before = copy.deepcopy(copies)
        loss = answer(*copies)
        if loss is None or loss is ...:
            raise TroubleError(EMPTY, str(loss))
        if not unchanged(before, copies):
            raise TroubleError(CHANGED, "your answer, and another input than was given")
        if not (isinstance(loss, Tensor) and loss.requires_grad):
            return dict.fromkeys(tensors, naming.CUT)
        found = torch.autograd.grad(loss.sum(), list(tensors.values()), allow_unused=True)
        named = zip(tensors, found, strict=True)
        return {
            name: naming.CUT if one is None or not one.nan_to_num(1).any() else one
            for name, one in named
        }

    return attempt
