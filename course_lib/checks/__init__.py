"""Does this answer to an exercise hold? If not, which mistake is it? One module a lesson.

``checks.sparsity(sparsity)`` takes the learner's own function. It prints what it checked and what it
did not, or raises `WrongAnswerError` with a message that fits on one screen.
"""

from course_lib.checks import lesson1, lesson2, lesson3, lesson4, lesson5, lesson6, lesson7
from course_lib.checks.checking import Check, WrongAnswerError
from course_lib.checks.guarding import Mistake
from course_lib.checks.lesson1 import (
    cubic_sparsity,
    global_masks,
    magnitude_mask,
    masked_step_,
    most_sparsity,
    prune_to,
    sparsity,
)
from course_lib.checks.lesson2 import (
    head_importance,
    remove_channels,
    remove_heads,
    remove_neurons,
    set_sizes_,
    silence_channels,
    twice_as_fast,
)
from course_lib.checks.lesson3 import (
    ask_teacher,
    distillation_loss,
    errors,
    kl,
    masked_mean,
    soft_gradient,
    soften,
)
from course_lib.checks.lesson4 import (
    compare,
    cosine_loss,
    latency,
    layers_to_take,
    student_from,
    triple_loss,
    two_layer_student,
)
from course_lib.checks.lesson5 import (
    choose_advice,
    front,
    int8_bytes,
    small_and_fast,
    three_orders,
    times_smaller,
    to_int8,
)
from course_lib.checks.lesson6 import (
    choose_max_length,
    loses_less,
    own_budget,
    teaching_rows,
    width_for,
)
from course_lib.checks.lesson7 import (
    block_influence,
    drop_layers,
    padded_kl,
    two_thirds,
    wanda_mask,
)

LESSONS = {
    1: lesson1,
    2: lesson2,
    3: lesson3,
    4: lesson4,
    5: lesson5,
    6: lesson6,
    7: lesson7,
}

__all__ = [
    "LESSONS",
    "Check",
    "Mistake",
    "WrongAnswerError",
    "ask_teacher",
    "block_influence",
    "choose_advice",
    "choose_max_length",
    "compare",
    "cosine_loss",
    "cubic_sparsity",
    "distillation_loss",
    "drop_layers",
    "errors",
    "front",
    "global_masks",
    "head_importance",
    "int8_bytes",
    "kl",
    "latency",
    "layers_to_take",
    "loses_less",
    "magnitude_mask",
    "masked_mean",
    "masked_step_",
    "most_sparsity",
    "own_budget",
    "padded_kl",
    "prune_to",
    "remove_channels",
    "remove_heads",
    "remove_neurons",
    "set_sizes_",
    "silence_channels",
    "small_and_fast",
    "soft_gradient",
    "soften",
    "sparsity",
    "student_from",
    "teaching_rows",
    "three_orders",
    "times_smaller",
    "to_int8",
    "triple_loss",
    "twice_as_fast",
    "two_layer_student",
    "two_thirds",
    "wanda_mask",
    "width_for",
]
