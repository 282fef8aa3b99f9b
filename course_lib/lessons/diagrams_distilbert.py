"""Drawings for lesson 4: when a model is distilled, and which share of the gain a student keeps."""

from __future__ import annotations

from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing, arrow, box, finish, label, line

TEACHER, STUDENT = style.COLORS["teacher"], style.COLORS["student"]
ROWS = (
    ("DistilBERT", "task-agnostic", ("pretrain", "distill", "fine-tune")),
    ("this lesson", "task-specific", ("pretrain", "fine-tune", "distill")),
)


def distill_before_or_after() -> Drawing:
    """DistilBERT is distilled before fine-tuning, the student of lesson 4 after it.

    A box has the color of the model that is trained in it: teacher or student. Sanh et al. 2019,
    sections 2 and 3. Explained in lesson 4.

    Example:
        >>> print(distill_before_or_after().alt)  # doctest: +NORMALIZE_WHITESPACE
        DistilBERT, task-agnostic: pretrain the teacher, distill the student, fine-tune the student.
        This lesson, task-specific: pretrain the teacher, fine-tune the teacher, distill the student.
    """
    ax = style.canvas(style.WIDTH, 2.75)
    left, width, height, slot = 1.75, 1.3, 0.6, 1.85
    for y, (name, kind, steps) in zip((0.55, 1.65), ROWS, strict=True):
        label(ax, (0.1, y - 0.13), name, ha="left", weight="bold")
        label(ax, (0.1, y + 0.13), kind, style.SMALL, ha="left")
        for i, step in enumerate(steps):
            color = STUDENT if "distill" in steps[: i + 1] else TEACHER
            x = left + i * slot
            box(ax, (x, y - height / 2), (width, height), step, color)
            if i:
                arrow(ax, (x - slot + width + 0.06, y), (x - 0.06, y))
    for x, name, color in (
        (left, "trains the teacher", TEACHER),
        (4.1, "trains the student", STUDENT),
    ):
        box(ax, (x, 2.35), (0.22, 0.22), color=color)
        label(ax, (x + 0.32, 2.46), name, style.SMALL, ha="left")
    description = " ".join(f"{name}, {kind}: {_listed(steps)}." for name, kind, steps in ROWS)
    return finish(ax, description.replace("this lesson", "This lesson"))


def _listed(steps: tuple[str, ...]) -> str:
    """Each step with the model that is trained in it: the student from distilling on."""
    first = steps.index("distill")
    return ", ".join(
        f"{step} the {'teacher' if i < first else 'student'}" for i, step in enumerate(steps)
    )


def share_of_gain(student: float = 0.85, teacher: float = 0.9, linear: float = 0.8) -> Drawing:
    """Accuracies as bars, and dark what each is above the linear model. Explained in lesson 4.

    Args:
        student, teacher, linear: accuracies, 0 to 1, from the linear model's to the teacher's.

    Raises:
        ValueError: they are not in this order, or the teacher is no better than the linear model.

    Example:
        >>> print(share_of_gain().alt)  # doctest: +NORMALIZE_WHITESPACE
        The linear model has 80 %, the student 85 % and the teacher 90 %. The student keeps 94 % of
        the teacher's accuracy, and 50 % of its gain over the linear model.
    """
    if not 0 <= linear <= student <= teacher <= 1 or linear == teacher:
        raise ValueError(
            f"got student {student}, teacher {teacher}, linear {linear}, expected accuracies with "
            "linear <= student <= teacher and linear < teacher."
        )
    ax, left, width, height = style.canvas(style.WIDTH, 2.35), 1.45, 4.9, 0.34
    rows = (("linear model", linear, style.COLORS["baseline"]), ("student", student, STUDENT))
    for i, (name, value, color) in enumerate((*rows, ("teacher", teacher, TEACHER))):
        y = 0.15 + 0.5 * i
        label(ax, (0.15, y + height / 2), name, ha="left")
        box(ax, (left, y), (width * value, height), color=color)
        if value > linear:
            look = {"facecolor": color, "gid": f"gain of the {name}"}
            box(
                ax,
                (left + width * linear, y),
                (width * (value - linear), height),
                "",
                color,
                **look,
            )
        label(ax, (left + width * value + 0.1, y + height / 2), f"{100 * value:.0f} %", ha="left")
    x = left + width * linear
    line(ax, [(x, 0.05), (x, 1.65)], linestyle="--", linewidth=style.THIN)
    accuracy, gain = student / teacher, (student - linear) / (teacher - linear)
    kept = f"{100 * accuracy:.0f} % of the teacher's accuracy"
    more = f"{100 * gain:.0f} % of its gain over the linear model"
    label(ax, (left, 1.85), f"The student keeps {kept},", ha="left")
    label(ax, (left, 2.12), f"and {more} (dark).", ha="left")
    accuracies = f"The linear model has {100 * linear:.0f} %, the student {100 * student:.0f} %"
    description = (
        f"{accuracies} and the teacher {100 * teacher:.0f} %. The student keeps {kept}, and {more}."
    )
    return finish(ax, description)
