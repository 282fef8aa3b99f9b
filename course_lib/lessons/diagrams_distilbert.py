"""A drawing for lesson 4: when in a model's life it is distilled."""

from __future__ import annotations

from course_lib.lessons import style
from course_lib.lessons.sketch import Drawing, arrow, box, finish, label

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
    told = " ".join(f"{name}, {kind}: {_listed(steps)}." for name, kind, steps in ROWS)
    return finish(ax, told.replace("this lesson", "This lesson"))


def _listed(steps: tuple[str, ...]) -> str:
    """Each step with the model that is trained in it: the student from distilling on."""
    first = steps.index("distill")
    return ", ".join(
        f"{step} the {'teacher' if i < first else 'student'}" for i, step in enumerate(steps)
    )
