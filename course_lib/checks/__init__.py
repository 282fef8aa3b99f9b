"""Does this answer to an exercise hold? If not, which mistake is it? One module a lesson.

``checks.sparsity(sparsity)`` takes the learner's own function. It prints what it checked and what it
did not, or raises `WrongAnswerError` with a message that fits on one screen.
"""

from course_lib.checks import lesson1
from course_lib.checks.checking import Check, Mistake, WrongAnswerError
from course_lib.checks.lesson1 import (
    cubic_sparsity,
    global_masks,
    magnitude_mask,
    masked_step_,
    most_sparsity,
    prune_to,
    sparsity,
)

LESSONS = {1: lesson1}

__all__ = [
    "LESSONS",
    "Check",
    "Mistake",
    "WrongAnswerError",
    "cubic_sparsity",
    "global_masks",
    "magnitude_mask",
    "masked_step_",
    "most_sparsity",
    "prune_to",
    "sparsity",
]
