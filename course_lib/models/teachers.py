"""The teacher for digits, made once and kept in the cache. The one for text is `zoo.teacher`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.datasets import image_augmentation, sources
from course_lib.models import networks, zoo
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe, recipe_fields

DIGIT_TEACHER = Recipe(epochs=4, decay=True, select_from_last=1)


def digit_teacher(n: int | None = None, copies: int = 5) -> nn.Module:
    """A `SmallCNN`, trained on MNIST's training images and on augmented copies of them.

    Training takes about a minute on two cores, once. Explained in lesson 3.

    Args:
        n: use only so many training images, which gives a weaker teacher sooner (default: all).
        copies: augmented copies of each image (default 5).

    Example:
        >>> sum(p.numel() for p in digit_teacher(n=64, copies=0).parameters())
        421834
    """
    train = sources.mnist()["train"]
    train = train if n in (None, len(train)) else sources.subset(train, n)
    model = networks.build(networks.SmallCNN)

    def make() -> dict[str, Tensor]:
        varied = image_augmentation.augment_images(train, copies)
        return fit(model, {"train": varied}, DIGIT_TEACHER).model.state_dict()

    made_from = {
        "train": zoo.fingerprint(train),
        "copies": copies,
        "recipe": recipe_fields(DIGIT_TEACHER),
        "torch": torch.__version__,
    }
    model.load_state_dict(zoo.made_once("digit-teacher", made_from, make))
    return model.eval()
