"""Right answers pass in any style; wrong ones, listed or mutated, are caught; the master's is ours."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from learners import Learners
from mutants import mutants

from course_lib import checks
from course_lib.checks.checking import Check, agree_all, edited
from course_lib.checks.guarding import Seen, Trouble

MASTERS = Path(__file__).parents[2] / "solutions" / "src"
ALL = {lesson: Learners(lesson) for lesson in checks.LESSONS}
WRONG = [one for found in ALL.values() for one in found.wrong]
RIGHT = [
    (e, n, a)
    for found in ALL.values()
    for e, named in found.right.items()
    for n, a in named.items()
]
WRITTEN = [
    check
    for lesson in checks.LESSONS.values()
    for check in vars(lesson).values()
    if isinstance(check, Check) and isinstance(check.right, str)
]
each_written = pytest.mark.parametrize("check", WRITTEN, ids=lambda check: check.name)


def name(parameter: object) -> str | None:
    """A test's id from its words; a function's own would hold an address, another in each worker."""
    return parameter[:40] if isinstance(parameter, str) else None


@pytest.mark.parametrize(("exercise", "mistake", "answer"), WRONG, ids=name)
def test_a_plausible_wrong_answer_is_named(exercise, mistake, answer):
    with pytest.raises(checks.WrongAnswerError) as caught:
        getattr(checks, exercise)(answer)
    assert mistake in caught.value.mistake.split("; and ")
    assert len(str(caught.value).splitlines()) <= 18  # it fits on one screen


@pytest.mark.parametrize(("exercise", "style", "answer"), RIGHT, ids=name)
def test_a_right_answer_passes_in_any_style(exercise, style, answer, capsys):
    getattr(checks, exercise)(answer)
    assert f"✓ {exercise}" in capsys.readouterr().out


@pytest.mark.parametrize("check", WRITTEN, ids=lambda check: check.name)
def test_there_are_enough_of_both(check):
    assert len({mistake for one, mistake, _ in WRONG if one == check.name}) >= 5
    assert len([style for one, style, _ in RIGHT if one == check.name]) >= 9


# --- the right answer and its edits ---------------------------------------------------------------


def plain(source: str) -> str:
    """Its code, without comments and layout."""
    return ast.unparse(ast.parse(source))


@each_written
def test_the_right_answer_is_the_masters(check):
    texts = [path.read_text("utf-8") for path in MASTERS.glob("*.py")]
    pattern = rf"^def {check.name}\(.*?(?=^# %%|^\S(?<!\)))"
    found = [m[0] for text in texts for m in re.finditer(pattern, text, re.M | re.S)]
    assert [plain(one) for one in found] == [plain(check.right)]


@each_written
def test_each_try_gives_something_for_the_right_answer(check):
    assert not [what for what, came in check.expected.items() if isinstance(came, Trouble)]


@each_written
def test_each_edit_makes_the_mistake_that_it_stands_for(check):
    for mistake in check.known:
        if not isinstance(mistake.wrong, Seen):
            found = check.find(check.made(edited(check.right, mistake)))
            assert found and found.mistake == mistake.name


# A mutant that survives, and why it is no mistake.
LAST = "the classes are the last dimension, and the one that is taken if none is said"
STRICT = "the three respects are always three"
NO_MISTAKE: dict[str, dict[str, str]] = {
    "sparsity": {
        "zeros = sum(((layer.weight == 0).sum() for layer in layers))": "a tensor for a number",
    },
    "cubic_sparsity": {"t = min(1, step / steps)": "min knows no order"},
    "distillation_loss": {
        "log_q = F.log_softmax(student_logits / T)": LAST,
        "log_q = F.log_softmax(student_logits / T, dim=1)": LAST,
        "p = F.softmax(teacher_logits / T)": LAST,
        "p = F.softmax(teacher_logits / T, dim=1)": LAST,
    },
    "cosine_loss": {
        "return (1 - F.cosine_similarity(theirs, mine, dim=-1)).mean()": "an angle has no order",
        "return (1 - F.cosine_similarity(mine, theirs)).mean()": LAST,
        "return (1 - F.cosine_similarity(mine, theirs, dim=1)).mean()": LAST,
    },
    "triple_loss": {
        "soft = T * 2 * F.kl_div(log_q, p, reduction='batchmean')": "T is 2 here",
        "cosine = (1 - F.cosine_similarity(theirs, mine, dim=-1)).mean()": "an angle has no order",
        "cosine = (1 - F.cosine_similarity(mine, theirs)).mean()": LAST,
        "cosine = (1 - F.cosine_similarity(mine, theirs, dim=1)).mean()": LAST,
    },
    "compare": {
        "winner = 'A is better' if only_a >= only_b else 'B is better'": "level is not significant",
        "return {'p': p, 'verdict': winner if p <= 0.05 else 'no significant difference'}": (
            "no number of coins gives a p of exactly 0.05"
        ),
    },
    "width_for": {
        "left = megabytes * 999999.0 - tokens * hidden": "a millionth of a budget",
        "if left <= 1:": "a byte of a budget",
        "return min(left / (layers * 12 * hidden ** 2), 1.0)": "min knows no order",
    },
    "padded_kl": {
        f"ratio = torch.where(log_p > -torch.inf, log_p - log_q, {other})": "times a p of 0"
        for other in ("1.0", "-1.0")
    },
    "to_int8": {"scale[scale == 0] = 2.0": "any step above 0 will do for a row of zeros"},
    "front": {
        "return any((other != mine and all((x <= y for x, y in zip(other, mine))) for other in "
        "costs.values()))": STRICT,
        "return any((other != mine and all((x <= y for x, y in zip(other, mine, strict=False))) "
        "for other in costs.values()))": STRICT,
    },
}


@each_written
def test_every_small_change_of_the_right_answer_is_caught(check):
    survivors = []
    for what, source in mutants(check.right):
        came = check.look(check.made(source))
        if list(came) == list(check.tries) and agree_all(came, check.expected):
            survivors.append(what)
    assert set(survivors) == set(NO_MISTAKE.get(check.name, {}))
