"""When does a teacher help with digits: if labels are plentiful, scarce, or absent?

The student, LeNet-300-100, has n labeled images. The teacher, `models.digit_teacher()`, is given. All
students of a table have the same number of steps; each seed draws other labeled images.

The heat map over T and alpha is measured with the fewest labels, on the validation set alone. The test
set is used for the table, whose T was fixed before. The last epoch counts: none is chosen.
"""

import functools
import sys

import torch
import torch.nn.functional as F

from course_lib import datasets, distillation, evaluation, models, training
from course_lib.lessons import experiments

RECIPE = {
    "labels": [50, 200, 500, 3500],
    "epochs": 10,  # over all 3,500 images, and as many steps over fewer
    "augmented_epochs": 4,  # over those images and five copies of each
    "T": 4,
    "temperatures": [1, 2, 4, 8, 20],
    "alphas": [0.5, 1.0],
}
QUICK = {"labels": [50, 3500], "epochs": 1, "augmented_epochs": 1, "temperatures": [1, 4]}
QUICK = {**QUICK, "alphas": [0.5, 1.0]}
BATCH = 50


def cases(recipe):
    """The table, the same with augmentation and all labels, and the heat map."""
    few, T = recipe["labels"], recipe["T"]
    all_images = len(datasets.mnist()["train"])
    rows = [("labels alone", n, 0.0, 0) for n in few]
    rows += [("soft, same images", n, 1.0, 0) for n in few if n < all_images]
    rows += [("soft, all images", 0, 1.0, 0), ("hard, all images", 0, 1.0, 0)]
    rows += [("labels alone", all_images, 0.0, 5), ("soft, all images", 0, 1.0, 5)]
    rows += [("hard, all images", 0, 1.0, 5)]
    table = [dict(zip(NAMES, (way, n, T, *more), strict=True)) for way, n, *more in rows]
    grid = [(t, alpha) for t in recipe["temperatures"] for alpha in recipe["alphas"]]
    return [*table, *(dict(zip(NAMES, ("map", few[0], *at, 0), strict=True)) for at in grid)]


NAMES = ("way", "labels", "T", "alpha", "copies")


def run(case, seed, recipe, mnist):
    """Correct answers on the validation set and, but for the heat map, on each test image."""
    with evaluation.one_thread():
        network = student(case, seed, recipe, mnist)
        validation = evaluation.evaluate(network, mnist["validation"])
        measured = {"correct": validation.correct, "n": validation.n}
        if case["way"] != "map":
            measured["test"] = evaluation.correct(network, mnist["test"])
    return measured


def student(case, seed, recipe, mnist):
    train, told = taught(case["copies"])
    steps = len(train) // BATCH * recipe["augmented_epochs" if case["copies"] else "epochs"]
    if case["labels"] and not case["copies"]:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        rows = order[: case["labels"]]
        train, told = torch.utils.data.TensorDataset(*train[rows]), told[rows]
    epochs = round(steps / (len(train) // BATCH))
    how = training.Recipe(epochs, batch_size=BATCH, seed=seed, select_from_last=1)
    loss = functools.partial(distillation.distillation_loss, T=case["T"], alpha=case["alpha"])
    if case["way"].startswith("hard"):
        loss = from_hard_answers
    fresh = models.build(models.LeNet300, seed)
    return distillation.distill(fresh, told, {"train": train}, how, loss=loss).model


def from_hard_answers(student_logits, teacher_logits, labels):
    return F.cross_entropy(student_logits, teacher_logits.argmax(-1))


@functools.cache
def taught(copies):
    """The training images with augmented copies, and the teacher's logits on all of them."""
    train = datasets.augment_images(datasets.mnist()["train"], copies, seed=1)
    return train, evaluation.predict(models.digit_teacher(), train)


EXPERIMENT = experiments.Experiment(RECIPE, datasets.mnist, cases, run, seeds=3, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
