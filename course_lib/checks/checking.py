"""How a check works: it looks at what an answer does, and at what known wrong answers would do.

A `Check` tries the learner's answer, the right one and each known mistake on the same small inputs.
Where the learner's answer does what a mistake does, the mistake is named. So hints, wrong answers
and the instructors' table of misconceptions are one list.
"""

from __future__ import annotations

import copy
import functools
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HERE = str(Path(__file__).parent)


@dataclass(frozen=True)
class Mistake:
    """One known way to go wrong.

    Attributes:
        name: in a few words, as a teacher would call it.
        why: what it does to the result and why that matters; one or two sentences, no answer in code.
        wrong: an answer that makes it; or, where none is small enough, what is then `Seen`.
    """

    name: str
    why: str
    wrong: Any


class Seen(dict[str, Any]):
    """What the tries give, said directly: a try's description → a value or a `Range`."""


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, both included, and rounding: 0.89999 counts as 0.9.

    Example:
        >>> print(Range(0.95, 1))
        0.95 to 1
    """

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


class WrongAnswerError(AssertionError):
    """An answer that does not hold. `mistake` is the name of the mistake, of the last lines.

    In a notebook it shows its message alone: a learner need not read our code's traceback.
    """

    def __init__(self, message: str, mistake: str) -> None:
        super().__init__(message)
        self.mistake = mistake

    def _render_traceback_(self) -> list[str]:  # IPython asks for this
        return str(self).splitlines()


class TroubleError(Exception):
    """Something is wrong before any value can be compared."""

    def __init__(self, mistake: Mistake, came: str) -> None:
        super().__init__(mistake.name)
        self.mistake, self.came = mistake, came


# What goes wrong in any exercise, before a value can be compared.
COMMON = (
    Mistake(
        "nothing is written yet",
        "Replace `raise NotImplementedError()` by your code, run that cell, then this one.",
        Seen(),
    ),
    Mistake("nothing is returned", "Does each path through your function end in `return`?", Seen()),
    Mistake(
        "the input is changed in place",
        "The caller still needs it: work on a copy (.clone()), or return a new tensor.",
        Seen(),
    ),
    Mistake("no function", "Give the function itself, without brackets: its name alone.", Seen()),
    Mistake("it stops with an error", "Call it yourself and read the last line.", Seen()),
    Mistake(
        "none that this check knows",
        "Work the expected value out on paper, then step through your code with the same numbers.",
        Seen(),
    ),
)
UNWRITTEN, EMPTY, CHANGED, NO_FUNCTION, STOPPED, UNKNOWN = COMMON


@dataclass(frozen=True, repr=False)
class Check:
    """The check of one exercise: call it with the learner's answer.

    Attributes:
        name: of the learner's function or variable.
        right: an answer that holds, or what is then `Seen`.
        tries: what is tried, in words → a function that takes an answer and returns what came.
        mistakes: the known ones. No two may give the same on all tries, and none what `right` gives.
        checked, not_checked: what the tries cover and what they do not, for the learner.

    Raises:
        WrongAnswerError: what was tried, what came, what was expected, which known mistake it is.

    Example:
        >>> double = Check(
        ...     name="double",
        ...     right=lambda x: 2 * x,
        ...     tries={"double(3)": call(3)},
        ...     mistakes=(Mistake("x² for 2x", "They agree at 2 alone.", lambda x: x * x),),
        ...     checked="one number",
        ...     not_checked="negative ones",
        ... )
        >>> double(lambda x: x + x)
        ✓ double
          checked      one number
          not checked  negative ones
        >>> double(lambda x: x**2)
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
    mistakes: tuple[Mistake, ...]
    checked: str
    not_checked: str

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
        if callable(self.right) and not callable(answer):
            return self._wrong("the answer", show(answer), "a function", NO_FUNCTION)
        came, expected, trouble = {}, self.expected, None
        for what, attempt in self.tries.items():
            try:
                came[what] = observed(attempt, answer)
            except Exception as error:
                trouble = error if isinstance(error, TroubleError) else raised(error)
                break
        different = [one for one in came if not agree(came[one], expected[one])]
        if not different and not trouble:
            return None
        named = next((m for m in self.mistakes if self._does(m, came)), None)
        if different and (named or not trouble):
            what = different[0]
            return self._wrong(what, show(came[what]), show(expected[what]), named or UNKNOWN)
        assert trouble
        return self._wrong(what, trouble.came, show(expected[what]), trouble.mistake)

    @functools.cached_property
    def expected(self) -> dict[str, Any]:
        """What the tries give for the right answer: the same each time, so worked out once."""
        return self.seen(self.right)

    def seen(self, answer: Any) -> dict[str, Any]:
        """What the tries give for an answer of ours."""
        if isinstance(answer, Seen):
            return answer
        return {what: observed(attempt, answer) for what, attempt in self.tries.items()}

    def _does(self, mistake: Mistake, came: Mapping[str, Any]) -> bool:
        seen = self.seen(mistake.wrong)
        # An answer that stopped with an error half-way is judged by what came before.
        whats = seen if isinstance(seen, Seen) else came
        return all(what in came and agree(came[what], seen[what]) for what in whats)

    def _wrong(self, what: str, came: str, expected: str, mistake: Mistake) -> WrongAnswerError:
        rows = {"tried": what, "came": came, "expected": expected, "mistake": mistake.name}
        lines = [_row(title, text) for title, text in (rows | {"": mistake.why}).items()]
        return WrongAnswerError("\n".join([f"{self.name}: not yet", *lines]), mistake.name)


def _row(title: str, text: str) -> str:
    return textwrap.fill(text, 92, initial_indent=f"  {title:13}", subsequent_indent=15 * " ")


def call(*given: Any) -> Callable[[Any], Any]:
    """A try that calls the answer with copies of these arguments, and sees to it that they stay."""

    def attempt(answer: Callable[..., Any]) -> Any:
        copies = copy.deepcopy(given)
        value = answer(*copies)
        if not unchanged(given, copies):
            raise TroubleError(CHANGED, "your answer, and another input than was given")
        return value

    return attempt


def observed(attempt: Callable[[Any], Any], answer: Any) -> Any:
    """What comes of one try: seeded, and without warnings, for which nbgrader would take points."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        value = attempt(answer)
    if value is None or value is ...:
        raise TroubleError(EMPTY, str(value))
    return value


def raised(error: Exception) -> TroubleError:
    """What to say of an exception: what it is, and at which line of the learner's."""
    if isinstance(error, NotImplementedError) and not error.args:  # PyTorch's own ones say more
        return TroubleError(UNWRITTEN, "NotImplementedError")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((HERE, sys.prefix, sys.base_prefix))]
    why = f"It happens at: {own[-1].line}" if own and own[-1].line else STOPPED.why
    return TroubleError(replace(STOPPED, why=why), f"{type(error).__name__}: {error}")


def agree(came: Any, expected: Any) -> bool:
    """Whether two values mean the same, whatever their type, dtype or device.

    Example:
        >>> agree(np.float64(0.5), torch.tensor(0.5)), agree([0, 1], torch.tensor([False, True]))
        (True, True)
        >>> agree(0.5, torch.tensor([0.5, 0.5]))
        False
    """
    if isinstance(expected, Mapping):
        if not isinstance(came, Mapping) or came.keys() != expected.keys():
            return False
        return all(agree(came[key], expected[key]) for key in expected)
    if isinstance(expected, str):
        return isinstance(came, str) and came.strip().lower() == expected.strip().lower()
    number = as_number(came)
    if number is None:
        return False
    if isinstance(expected, Range):
        return number.numel() == 1 and expected.low - 1e-4 < number.item() < expected.high + 1e-4
    wanted = as_number(expected)
    if wanted is None or number.squeeze().shape != wanted.squeeze().shape:
        return False
    near = torch.isclose(number.squeeze(), wanted.squeeze(), 1e-3, 1e-4, equal_nan=True)
    return bool(near.all())


def as_number(value: Any) -> Tensor | None:
    """The value as a float64 tensor on the CPU, None if it is no number."""
    try:
        if not isinstance(value, Tensor):
            value = torch.as_tensor(np.asarray(value, dtype=np.float64))
        return value.detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        return None


def show(value: Any) -> str:
    """A value in one short line.

    Example:
        >>> show(torch.tensor([[0.5, 1 / 3]])), show({"fc": torch.tensor([1])}), show(0.25)
        ('[[0.5, 0.3333]]', '{fc: [1]}', '0.25')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Tensor | np.ndarray):
        if np.prod(value.shape) > 24:
            return f"shape {list(value.shape)}"
        value = value.tolist()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show(one) for one in value) + "]"
    if isinstance(value, float | np.floating):
        return f"{value + 0.0:.4g}"  # -0.0 is 0
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]} …"


def unchanged(before: Any, after: Any) -> bool:
    """Whether both are equal to the last bit; of a module its state, its mode and its layers."""
    if isinstance(before, nn.Module):
        states = [dict(m.state_dict()) | {"mode": m.training} for m in (before, after)]
        return states[0].keys() == states[1].keys() and unchanged(*states)
    if isinstance(before, Mapping):
        return before.keys() == after.keys() and all(unchanged(before[k], after[k]) for k in before)
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(unchanged, before, after))
    if isinstance(before, Tensor):
        same = before.shape == after.shape and before.dtype == after.dtype
        # nan equals nan here
        return same and bool(torch.equal(before.nan_to_num(7.7), after.nan_to_num(7.7)))
    return bool(before == after)
