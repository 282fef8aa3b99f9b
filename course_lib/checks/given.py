"""What the labs hand to a learner besides the exercise: a teacher, its student, a rule for masks.

No answer stands here: in the sandbox that grades, this is all that is left of the checks.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor

from course_lib import datasets, distillation, models, training

VIT: dict[str, Any] = {
    "image_size": 28,
    "patch_size": 7,
    "num_channels": 1,
    "hidden_size": 32,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_labels": 10,
    "initializer_range": 0.15,  # the default, 0.02, is for widths of hundreds: it begins slowly here
}
TEACHER = training.Recipe(8, lr=3e-3, warmup=0.1, decay=True)
LESSON = training.Recipe(4, lr=2e-4, batch_size=32, warmup=0.1, decay=True)


def vit_teacher() -> Any:
    """A vision transformer of six layers that reads digits: trained once, then cached.

    BERT's layers, with 16 patches of a picture for words: small enough for an exercise. It is given
    in eval mode. Explained in the exercises of lesson 4.

    Example:
        >>> vit_teacher().config.num_hidden_layers
        6
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT))
    made_from = {"model": VIT, "recipe": training.recipe_fields(TEACHER)} | _versions()
    weights = models.made_once(
        "exercise-4-teacher",
        made_from,
        lambda: training.fit(model, datasets.mnist(), TEACHER).model.state_dict(),
    )
    model.load_state_dict(weights)
    return model.eval()


def vit_student() -> Any:
    """Its student of two layers by lesson 4's recipe: made once, then cached; in eval mode.

    Example:
        >>> vit_student().config.num_hidden_layers
        2
    """
    teacher = vit_teacher()
    start: Any = distillation.student_from_teacher(teacher, (0, 3))
    soft = partial(distillation.distillation_loss, T=2, alpha=1)
    made_from = {"model": VIT, "teacher": training.recipe_fields(TEACHER), "layers": [0, 3]}
    weights = models.made_once(
        "exercise-4-student",
        made_from | {"recipe": training.recipe_fields(LESSON)} | _versions(),
        lambda: distillation.distill(
            start, teacher, datasets.mnist(), LESSON, loss=soft
        ).model.state_dict(),
    )
    start.load_state_dict(weights)
    return start.eval()


def _versions() -> dict[str, str]:
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def lowest(weights: Tensor, share: float) -> Tensor:
    """False for the smallest `share` of all weights, by size; zeros are the smallest. Lesson 5's lab.

    Example:
        >>> lowest(torch.tensor([3.0, 0.0, -1.0, -2.0]), 0.5)
        tensor([ True, False, False,  True])
    """
    mask = torch.ones(len(weights), dtype=torch.bool)
    order = weights.abs().argsort(stable=True)
    mask[order[: round(share * len(weights))]] = False
    return mask
