"""Which mistake is it? First the known ones, then two of them at once, then what can be seen.

Each step says only what is true of the answer: a known mistake is named where the answer does
what the mistake does, and what can be seen (another shape, the sign, a factor) is a fact.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib.checks import facts
from course_lib.checks.comparing import agree, as_number, close
from course_lib.checks.guarding import (
    CHANGED,
    EMPTY,
    ENDLESS,
    EXITS,
    LEFT,
    STOPPED,
    UNWRITTEN,
    Mistake,
    Seen,
    Trouble,
    guarded,
)

if TYPE_CHECKING:
    from course_lib.checks.checking import Check

CUT = "no gradient"  # what a try says in its place
SEARCH = 5.0  # seconds of computing in which two mistakes at once are looked for
VAGUE = re.compile("a number in it|has no effect|one of the steps|a part of it")
BEFORE = "before"  # "? before: right" in a mistake's patterns: what is tried before them is right

NO_FUNCTION = Mistake("no function", "Give the function itself, without brackets: its name alone.")
UNKNOWN = Mistake(
    "none that this check knows",
    "Work the expected value out on paper, then step through your code with the same numbers.",
)
WRAPPED = Mistake(
    "a list or a tuple around the answer",
    "The answer is right, and packed into something. Is there a comma behind it?",
)
KIND = Mistake(
    "another kind of value than is asked for",
    "Compare what came with what was expected: a number, a tensor, a dict, a list or a text?",
)
SHAPED = Mistake(
    "the right numbers in another shape",
    "The numbers are there. Whoever calls your function relies on the shape: keep it, or restore it.",
)
SHAPE = Mistake(
    "another shape than is asked for",
    "Print the shape behind each line. Where does a dimension go, or one too many stay?",
)
NAN = Mistake(
    "nan or infinity comes out",
    "Look for 0 / 0, log(0), 0 · inf and exp() of something large: which line is the first to give it?",
)
OPPOSITE = Mistake(
    "true and false are exchanged", "Every yes is a no. Which way round is the comparison meant?"
)
SIGN = Mistake(
    "the sign is turned round", "Where it is wrong, the size is right, and plus is minus."
)
OFFSET = Mistake(
    "the same number too much or too little",
    "Subtract what was expected from what came: it is always the same. Is a term left out, or one too "
    "many?",
)
ORDER = Mistake(
    "the right values in another order",
    "Nothing is missing and nothing too much, but the places are exchanged.",
)
RANDOM = Mistake(
    "something random is in it",
    "Called again with the same numbers, it gives others. Is a layer built anew and its weights not "
    "copied, is dropout on, or is something drawn?",
)
ROUNDED = Mistake(
    "the answer is rounded",
    "Rounding belongs to printing. Whoever goes on computing with it needs the number as it is.",
)
TOO_MANY = Mistake(
    "the right ones, and some too many",
    "What is asked for is there. Which of the others should have been left out, and by which rule?",
)
MISSING = Mistake(
    "some of the right ones are missing",
    "What is there belongs there. Which rule have the missing ones not passed, and is it asked for?",
)
LONGER = Mistake(
    "more entries than there should be", "What is asked for may be there. Which ones are too many?"
)
SHORTER = Mistake(
    "fewer entries than there should be",
    "Count them. Which ones are missing, and where does your code leave them out, or stop too early?",
)
MORE_ZEROS = Mistake(
    "more zeros than there should be",
    "Everything else is right. Count them (False counts as 0): where do the surplus ones come from?",
)
FEWER_ZEROS = Mistake(
    "fewer zeros than there should be",
    "Everything else is right. Count them (False counts as 0): which ones are missing?",
)
OTHER_ZEROS = Mistake(
    "as many zeros as there should be, in other places",
    "The number is right (False counts as 0). By what are those that go chosen?",
)
CUT_OFF = Mistake(
    "nothing can be learned from it",
    "The value is right, but it is cut off from what should learn: .item(), .detach(), float(), numpy "
    "or no_grad() in the wrong place. Then backward() moves nothing.",
)
PART_CUT = Mistake(
    "the value is right, its gradient is not",
    "A part is cut off from what should learn, or counts otherwise: look for .detach(), .item(), .data "
    "and no_grad() in each part.",
)
PARTLY = Mistake(
    "right for some inputs, not for others",
    "What is different in the others? Is a number of one example fixed in the code?",
)
INTO = Mistake(
    "a gradient flows where none should",
    "What is expected to stay as it is would learn, too. Take it out of the graph.",
)
# What goes wrong in any exercise.
COMMON = (
    *(UNWRITTEN, EMPTY, CHANGED, NO_FUNCTION, STOPPED, ENDLESS, EXITS, LEFT, WRAPPED, KIND, SHAPED),
    *(SHAPE, NAN, RANDOM, OPPOSITE, SIGN, OFFSET, ORDER, ROUNDED, TOO_MANY, MISSING, PARTLY),
    *(LONGER, SHORTER, MORE_ZEROS, FEWER_ZEROS, OTHER_ZEROS, CUT_OFF, PART_CUT, INTO, UNKNOWN),
)

Values = Mapping[str, Any]


def named(check: Check, came: Values, answer: Any) -> tuple[str, Mistake]:
    """The try to show, and the mistake to name."""
    wrong = [what for what in came if not agree(came[what], check.expected[what])]
    what = wrong[0]
    troubles = [one for one in map(came.get, wrong) if isinstance(one, Trouble)]
    told = next((one for one in troubles if one.mistake.name != STOPPED.name), None)
    if told and told.final:
        return next(w for w in wrong if came[w] is told), told.mistake
    for find in (_one, _cut, _slip, _two, _partly):
        if mistake := next(find(check, came, wrong), None):
            return what, mistake
    if told:
        return next(w for w in wrong if came[w] is told), told.mistake
    right = [w for w in came if w not in wrong and not isinstance(check.expected[w], bool)]
    if isinstance(came[what], Trouble):
        if "numpy() on Tensor that requires grad" in came[what].came:  # numpy() of it
            return what, CUT_OFF
        return what, _special(wrong, came) or facts.stopped(came[what], right)
    values = [w for w in wrong if not isinstance(came[w], Trouble)]
    pairs = [pair for one in values for pair in _pairs(came[one], check.expected[one])]
    fact = _listed(pairs) or _entries(*pairs[0]) or _of_one(*pairs[0]) if pairs else KIND
    if fact is SHAPE:
        fact = facts.reduced(pairs) or SHAPE
    if fact is not KIND and not agree(guarded(check.tries[what], answer, seed=1), came[what]):
        return what, RANDOM
    fact = fact or _special(wrong, came) or _together(pairs) or facts.words(pairs)
    fact = fact or _where([(came[one], check.expected[one]) for one in values])
    fact = fact or _shown(pairs) or facts.questioned(what, came[what], check.expected[what])
    return what, fact or (Mistake(PARTLY.name, facts.right_for(right)) if right else UNKNOWN)


def _one(check: Check, came: Values, wrong: list[str]) -> Iterator[Mistake]:
    """A mistake that does the same on all tries; one told by a pattern, on those of the pattern."""
    for mistake in check.known:
        seen = dict(check.seen(mistake))
        if not isinstance(mistake.wrong, Seen):
            if _tells(came, wrong) and _same(came, seen, check.tries):
                yield mistake
        elif (not seen.pop(BEFORE, "") or wrong[0] in seen) and _same(came, seen, seen):
            yield mistake


def _cut(check: Check, came: Values, wrong: list[str]) -> Iterator[Mistake]:
    """Every value is right, and no gradient arrives anywhere."""
    pairs = [pair for what in wrong for pair in _pairs(came[what], check.expected[what])]
    if pairs and all(isinstance(a, str) and a == CUT for a, _ in pairs):
        yield CUT_OFF


def _slip(check: Check, came: Values, wrong: list[str]) -> Iterator[Mistake]:
    """A slip that recurs and does the same on all tries; if two of other names do so, both."""
    if all(isinstance(came[what], bool | Trouble) for what in wrong):  # these have many causes
        return
    end, fitting = time.process_time() + SEARCH, {}
    for slip in check.slips:
        if time.process_time() > end:
            break
        first = check.gives(wrong[0], came[wrong[0]], slip)
        if first and _same(came, check.seen(slip), check.tries):
            fitting[slip.name] = slip
    clear = [slip for name, slip in fitting.items() if not VAGUE.search(name)]
    found = clear or list(fitting.values())
    if 0 < len(found) <= 2:
        yield Mistake("; or ".join(slip.name for slip in found), found[0].why)


def _two(check: Check, came: Values, wrong: list[str]) -> Iterator[Mistake]:
    """Two mistakes at once."""
    edits = [one for one in check.known if not isinstance(one.wrong, Seen)]
    if all(isinstance(came[what], Trouble) or _few(came[what]) for what in wrong):
        return  # an error has many causes, and so has a mask
    end = time.process_time() + SEARCH
    for one, other in itertools.combinations(edits, 2):
        if time.process_time() > end:
            return
        for pair in ((one, other), (other, one)):
            if not check.gives(wrong[0], came[wrong[0]], *pair):
                continue
            seen = check.seen(*pair)
            if seen and _same(came, seen, check.tries):
                yield Mistake(f"{one.name}; and {other.name}", f"{one.why} And: {other.why}")


def _partly(check: Check, came: Values, wrong: list[str]) -> Iterator[Mistake]:
    """The one mistake that most of the tries show, or three numbers of the first."""
    fitting = []
    values = [what for what in wrong if not isinstance(came[what], Trouble | bool)]
    for mistake in check.known:
        if isinstance(mistake.wrong, Seen) or not values:
            continue
        seen = check.seen(mistake)
        same = [what for what in values if what in seen and agree(came[what], seen[what])]
        telling = [what for what in same if _telling(came[what])]
        strong = [what for what in telling if not _few(came[what])]
        all_of_them = len(same) == len(values) and (strong or len(telling) > 1)
        most = len(strong) > 1 and len(same) * 2 >= len(values)
        if all_of_them or most or (same[:1] == wrong[:1] and _uneven(came[wrong[0]])):
            fitting.append(mistake)
    yield from _likest(check, came, fitting)


def _likest(check: Check, came: Values, fitting: list[Mistake]) -> Iterator[Mistake]:
    """The one of these mistakes that does the same in most tries, the right ones among them."""
    alike = {
        one: sum(agree(came[what], check.seen(one).get(what, ...)) for what in came)
        for one in fitting
    }
    best = [one for one in fitting if alike[one] == max(alike.values())]
    yield from best if len(best) == 1 else ()


def _same(came: Values, seen: Values, whats: Any) -> bool:
    return all(what in came and what in seen and agree(came[what], seen[what]) for what in whats)


def _tells(came: Values, wrong: list[str]) -> bool:
    """Whether something came that two different mistakes would hardly share."""
    return any(not isinstance(came[what], Trouble) or not came[what].final for what in wrong)


def _telling(value: Any) -> bool:
    """No yes or no, no word, no trouble: numbers that do not agree by chance."""
    if isinstance(value, Mapping):
        return any(map(_telling, value.values()))
    number = None if isinstance(value, bool | str | Trouble) else as_number(value)
    return number is not None and bool((number != number.round()).any() or number.numel() > 3)


def _few(value: Any) -> bool:
    """A mask or a single whole number: many mistakes give the same."""
    if isinstance(value, Mapping):
        return all(map(_few, value.values()))
    number = None if isinstance(value, str | Trouble) else as_number(value)
    return number is not None and len(number.unique()) < 3 and not (number != number.round()).any()


def _uneven(value: Any) -> bool:
    """Three or more different numbers, not all whole: no accident."""
    number = None if isinstance(value, str | Trouble) else as_number(value)
    return (
        number is not None
        and not _few(value)
        and len(number.unique()) > 2
        and bool((number != number.round()).any())
    )


def _special(wrong: list[str], came: Values) -> Mistake | None:
    """What all wrong tries have in common, if the plain ones are right."""
    special = [what.partition(" | ")[2] for what in wrong]
    if all(one == "gradient" for one in special):
        return PART_CUT
    if all(special) and len(wrong) < len(came):
        others = [w.partition(" | ")[0] for w in came if w not in wrong]
        why = f"It is right for: {'; '.join(others)}. What is different here?"
        return Mistake(f"wrong with {special[0]}", why if len(why) < 250 else why[:247] + " …")
    return None


def _pairs(came: Any, expected: Any) -> list[tuple[Any, Any]]:
    """What differs, of two values or of two dicts."""
    if not isinstance(expected, Mapping):
        return [(came, expected)]
    if not isinstance(came, Mapping) or came.keys() < expected.keys():
        return []
    both = [(came[key], expected[key]) for key in expected if key in came]
    return [pair for a, b in both if not agree(a, b) for pair in _pairs(a, b)]


def _where(pairs: list[tuple[Any, Any]]) -> Mistake | None:
    """The part of a dict that is wrong alone, if that is the same in all of them."""
    both = [(a, b) for a, b in pairs if isinstance(a, Mapping) and isinstance(b, Mapping)]
    parts = [(a, b) for a, b in both if CUT not in [*map(str, b.values()), *map(str, a.values())]]
    wrong = {tuple(key for key in b if not agree(a.get(key), b[key])) for a, b in parts}
    rest = [key for key in parts[0][1] if key not in min(wrong)] if len(wrong) == 1 else []
    if not rest:
        return None
    title = f"only {' and '.join(map(str, min(wrong)))}: the rest is right"
    return Mistake(title, f"Right are: {', '.join(map(str, rest))}. What is different there?")


def _listed(pairs: list[tuple[Any, Any]]) -> Mistake | None:
    """Too many or too few in a list, if that is all that is wrong."""
    if not all(isinstance(one, list | tuple) for pair in pairs for one in pair):
        return None
    try:
        sets = [(set(a), set(b)) for a, b in pairs]
    except TypeError:  # lists in a list
        return None
    if any(len(set(b)) < len(b) for _, b in pairs):
        return None
    if all(a > b for a, b in sets):
        return TOO_MANY
    return MISSING if all(a < b for a, b in sets) else None


def _entries(came: Any, expected: Any) -> Mistake | None:
    """A list of texts or of lists: its length, or its order."""
    if not isinstance(came, list | tuple) or not isinstance(expected, list | tuple):
        return None
    if kind := facts.kinds(came, expected):
        return Mistake(kind, KIND.why)
    if as_number(expected) is not None or (len(came) == 1 and agree(came[0], expected)):
        return None
    if len(came) != len(expected):
        return LONGER if len(came) > len(expected) else SHORTER
    same = all(any(agree(a, b) for b in expected) for a in came)
    return ORDER if same and all(any(agree(a, b) for a in came) for b in expected) else None


def _of_one(came: Any, expected: Any) -> Mistake | None:
    if isinstance(expected, str) and expected == CUT:
        return INTO
    if isinstance(came, str) and came == CUT:
        return CUT_OFF
    if isinstance(came, list | tuple) and len(came) == 1 and agree(came[0], expected):
        return WRAPPED
    if isinstance(expected, str):
        return None if isinstance(came, str) else KIND
    number, wanted = as_number(came), as_number(expected)
    if number is None:
        return None if wanted is None and type(came) is type(expected) is list else KIND
    if wanted is None:  # a range
        return None if number.numel() == 1 else KIND
    if number.shape != wanted.shape and _same_numbers(number, wanted):
        return SHAPED
    if number.shape != wanted.shape and not number.numel() == wanted.numel() == 1:
        return SHAPE
    if wanted.isfinite().all() and not number.isfinite().all():
        return NAN
    both = len(wanted.unique()) == 2  # no wonder that a mask of one kind comes as the other
    if both and getattr(expected, "dtype", None) == torch.bool and agree(1 - number, expected):
        return OPPOSITE
    return None


def _shown(pairs: list[tuple[Any, Any]]) -> Mistake | None:
    """How the places of the first value are wrong, which is the one that is shown."""
    place = facts.placed(*pairs[0]) if pairs else ""
    return (
        Mistake(place, "That is so in what is shown here; the rest may follow from it.")
        if place
        else None
    )


def _same_numbers(number: Tensor, wanted: Tensor) -> bool:
    if number.numel() != wanted.numel():
        return False
    turned = number.T.flatten() if number.dim() == 2 else number.flatten()
    return close(number.flatten(), wanted.flatten()) or close(turned, wanted.flatten())


def _together(pairs: list[tuple[Any, Any]]) -> Mistake | None:
    """A fact about all values that came wrong, which may be what they have in common."""
    numbers = [(as_number(came), as_number(expected)) for came, expected in pairs]
    if any(a is None or b is None or a.shape != b.shape for a, b in numbers):
        return None
    a, b = (torch.cat([pair[i].flatten() for pair in numbers]) for i in (0, 1))  # type: ignore[union-attr]
    if close(a, -b):
        return SIGN
    if len(a.unique()) > 1 and any(close(a, b.round(decimals=places)) for places in range(5)):
        return ROUNDED
    if factor := facts.ratio(a, b):
        return facts.times(factor)
    masks = all(getattr(wanted, "dtype", None) == torch.bool for _, wanted in pairs)
    if len(a) > 1 and not masks and close(a - b, (a - b)[:1].expand_as(a)):
        return OFFSET
    if len(a) > 2 and close(a.sort().values, b.sort().values) and len(a.unique()) > 2:
        return Mistake(facts.all_alike(pairs, facts.placed) or ORDER.name, ORDER.why)
    if all(facts.proportional(*pair) for pair in numbers):  # type: ignore[arg-type]
        return facts.PROPORTIONAL
    if place := facts.all_alike(pairs, facts.placed):
        return Mistake(place, "The shape is right. Compare the places one by one.")
    return facts.as_function(a, b) or _zeros(a, b)


def _zeros(a: Tensor, b: Tensor) -> Mistake | None:
    """Zeros too many or too few, if that is all that is wrong; or in other places."""
    more, fewer = (a == 0) & (b != 0), (a != 0) & (b == 0)
    others = ~more & ~fewer
    if len(a) < 3 or not (b == 0).any() or not close(a[others], b[others]):
        return None
    if more.any() and fewer.any():
        return OTHER_ZEROS if more.sum() == fewer.sum() else None
    return MORE_ZEROS if more.any() else FEWER_ZEROS
