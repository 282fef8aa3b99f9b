"""What can be seen of a wrong answer that no known mistake explains: facts, each true of what came."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from course_lib.checks.comparing import agree, as_number, close, show
from course_lib.checks.guarding import STOPPED, Mistake, Trouble

Pairs = list[tuple[Any, Any]]  # what came, and what was expected
Pair = tuple[Tensor, Tensor]

# A factor between what came and what was expected → what it mostly is.
FACTORS = {
    **{100: "percent for a fraction", 0.01: "a fraction for percent", 8: "bits for bytes"},
    **{0.125: "bytes for bits", 1000: "thousandths (ms for s)", 0.001: "thousands (s for ms)"},
    **{1e6: "millionths", 1e-6: "millions", 1 / math.log(2): "bits for nats (log2)"},
    **{math.log(2): "nats for bits", 1 / math.log(10): "log10 for the natural logarithm"},
}
# What came as a function of what was expected.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "1 minus what is expected": lambda x: 1 - x,
    "the reciprocal of what is expected": lambda x: 1 / x,
    "1 minus the reciprocal of what is expected": lambda x: 1 - 1 / x,
    "the square of what is expected": lambda x: x * x,
    "the root of what is expected": lambda x: x.sqrt(),
    "the logarithm of what is expected": lambda x: x.log(),
    "the exponential of what is expected": lambda x: x.exp(),
    "the absolute value of what is expected": lambda x: x.abs(),
    "cut off below 0": lambda x: x.clamp(min=0),
    "cut off above 1": lambda x: x.clamp(max=1),
    "cut off to whole numbers": lambda x: x.trunc(),
    "rounded up to whole numbers": lambda x: x.ceil(),
    "rounded down to whole numbers": lambda x: x.floor(),
}
REDUCED: dict[str, Callable[..., Tensor]] = {
    "mean": lambda x, d: x.mean(d),
    "sum": lambda x, d: x.sum(d),
    "largest": lambda x, d: x.amax(d),
    "smallest": lambda x, d: x.amin(d),
    "first": lambda x, d: x.select(d, 0),
    "last": lambda x, d: x.select(d, -1),
}
PROPORTIONAL = Mistake(
    "right but for a factor, another one for each input or row",
    "Divide what came by what was expected, in two of the tries. Which number of the input is that: a "
    "length, a count, an argument?",
)
ERRORS = {
    r"out of range|out of bounds|^IndexError": "an index behind the end",
    r"size of tensor|tensor size|cannot be multiplied|invalid for input|mismatch|"
    r"be broadcast|same size|must match|expanded size": "two shapes that do not fit",
    r"^KeyError": "a key that is not there",
    r"ivision by zero|^ZeroDivisionError": "a division by 0",
    r"^NameError|^UnboundLocalError": "a name that is not defined there",
    r"^AttributeError": "an attribute that this object has not",
    r"positional argument|keyword argument": "other arguments than it takes",
    r"unpack": "more or fewer values than names",
    r"in-?place operation": "a parameter is changed in place under autograd",
    r"does not require grad": "a gradient where none is recorded",
    r"scalar type|dtype|data ?type": "another dtype than is needed",
    r"^StopIteration|m(ax|in)\(\) (arg|iterable)|empty": "nothing is left to choose from",
    r"cannot assign": "what is no module or parameter, in the place of one",
    r"^RecursionError": "it calls itself without end",
    r"^TypeError": "a kind of value that does not go with it",
}


def stopped(came: Trouble, right: list[str]) -> Mistake:
    """An error by its kind, with the tries in which there is none."""
    kind = next((name for form, name in ERRORS.items() if re.search(form, came.came)), "")
    kind = "its own" if "at: raise" in came.mistake.why else kind
    why = f"{came.mistake.why}{'. ' + right_for(right) if right else ''}"
    return Mistake(f"{STOPPED.name}: {kind}" if kind else STOPPED.name, why)


def right_for(right: list[str]) -> str:
    """In which tries the answer is right, in a line or two."""
    said = f"It is right for: {'; '.join(one.partition(' | ')[0] for one in right)}"
    return f"{said}. What is different here?" if len(said) < 220 else f"{said[:217]} …"


def all_alike(pairs: Pairs, look: Callable[[Any, Any], str]) -> str:
    """What can be said of each pair, if it is the same of all; else ''."""
    found = {look(*pair) for pair in pairs}
    return found.pop() if len(found) == 1 else ""


def reduced(pairs: Pairs) -> Mistake | None:
    """A dimension that is added up or averaged too few, or one too many, in all of them."""
    numbers = [(as_number(came), as_number(expected)) for came, expected in pairs]
    if not numbers or any(a is None or b is None or a.dim() == b.dim() for a, b in numbers):
        return None
    fitting = [list(_reduced(a, b)) for a, b in numbers if a is not None and b is not None]
    title = next((one for one in fitting[0] if all(one in row for row in fitting)), "")
    return Mistake(title, "Print the shape behind each line of your code.") if title else None


def _reduced(number: Tensor, wanted: Tensor) -> Iterator[str]:
    more = number.dim() > wanted.dim()
    large, small = (number, wanted) if more else (wanted, number)
    title = (
        "the {} of what came is expected" if more else "the {} over a dimension that should stay"
    )
    for word, one in _reductions(large) if large.numel() > 1 else ():
        if one.shape == small.shape and close(one, small):
            yield title.format(word)


def _reductions(large: Tensor) -> Iterator[tuple[str, Tensor]]:
    for word, reduce in REDUCED.items():
        for dim in range(large.dim()):
            yield word, reduce(large, dim)
        yield word, reduce(large.flatten(), 0)


def placed(came: Any, expected: Any) -> str:
    """How the places of the numbers differ; '' if that is not all."""
    a, b = as_number(came), as_number(expected)
    if a is None or b is None or a.shape != b.shape or a.numel() < 3 or b.dim() == 0:
        return ""
    for dim in range(b.dim()):
        if close(a, b.flip(dim)):
            return "in the reverse order"
        if close(a, b.roll(1, dim)) or close(a, b.roll(-1, dim)):
            return "each in its neighbor's place"
    if a.dim() == 2 and a.shape[0] == a.shape[1] and close(a, b.T):
        return "rows and columns are exchanged"
    if len(a.unique()) == 1 and len(b.unique()) > 1:
        return "the same value everywhere"
    if close(a[1:], b[1:]):
        return "the first number is wrong, and the others are right"
    return "the last number is wrong, and the others are right" if close(a[:-1], b[:-1]) else ""


def as_function(a: Tensor, b: Tensor) -> Mistake | None:
    """All numbers that came, as a function of those that were expected."""
    if len(b.unique()) < 2:
        return None
    for title, function in FUNCTIONS.items():
        if close(a, function(b)) and not close(function(b), function(b)[:1].expand_as(b)):
            return Mistake(
                title, f"It holds for all {len(b)} numbers that came otherwise than expected."
            )
    return None


def ratio(a: Tensor, b: Tensor) -> float:
    """What came divided by what was expected, if it is the same for all; else 0."""
    some = b.abs() > 1e-9
    if some.sum() < 2 or (a[~some].abs() > 1e-6 * a.abs().max()).any():
        return 0.0
    ratios = a[some] / b[some]
    return ratios[0].item() if close(ratios, ratios[:1].expand_as(ratios)) else 0.0


def proportional(a: Tensor, b: Tensor) -> bool:
    """Whether each row is right but for a factor of its own."""
    if b.dim() == 0:
        return False
    rows = zip(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), strict=True)
    return all(bool(ratio(*row)) or close(*row) for row in rows)


def times(factor: float) -> Mistake:
    """The fact that all numbers are so many times what they should be."""
    usual = next(
        (name for one, name in FACTORS.items() if math.isclose(factor, one, rel_tol=1e-3)), ""
    )
    name = f"{factor:.4g} times what is expected"
    return Mistake(
        f"{name}: {usual}?" if usual else name,
        "Everything is off by this factor. Which number of the exercise is it? Is it left out, or used "
        "twice?",
    )


def words(pairs: Pairs) -> Mistake | None:
    """One word for another, if what came is words."""
    if not all(isinstance(one, str) for pair in pairs for one in pair):
        return None
    said = sorted({(a.strip().lower(), b.strip().lower()) for a, b in pairs})
    why = "Which condition leads there? Put in the numbers of what was tried."
    if len(said) == 1:
        return Mistake('"{}" where "{}" is expected'.format(*said[0]), why)
    if len(said) == 2 and said[0] == said[1][::-1]:
        return Mistake('"{}" and "{}" are exchanged'.format(*said[0]), why)
    often = {a for a, _ in said}
    return Mistake(f'"{often.pop()}" too often', why) if len(often) == 1 else None


def kinds(came: Any, expected: Any) -> str:
    """What a list holds instead of what it should hold; '' if it is the same kind."""
    if not all(isinstance(one, list | tuple) and one for one in (came, expected)):
        return ""
    a, b = ({_kind(one) for one in row} for row in (came, expected))
    if a == b or len(a) > 1 or len(b) > 1:
        return ""
    return f"{a.pop()} in the list, not {b.pop()}"


def _kind(one: Any) -> str:
    if isinstance(one, str):
        return "texts"
    if isinstance(one, Mapping):
        return "dicts"
    if isinstance(one, list | tuple):
        return "lists"
    if isinstance(one, Tensor) and one.dim():
        return "tensors"
    return "numbers" if as_number(one) is not None else type(one).__name__


def questioned(what: str, came: Any, expected: Any) -> Mistake | None:
    """A question whose answer should be yes, and is no, or the other way round."""
    question = what.partition(" | ")[0]
    if not (isinstance(expected, bool) and question.endswith("?")) or agree(came, expected):
        return None
    name = f"{question[:-1]}: {show(came)}, not {show(expected)}"
    return Mistake(name, "That is what the first of these lines asks, and all that is wrong first.")
