"""A student that never saw a 3: what do its teacher's answers to other digits say about the 3s?

The teacher, `models.digit_teacher()`, has seen all digits. The student, LeNet-300-100, is trained on
images that are no 3s: on their labels, on the teacher's hard answers, or on its soft answers at a
temperature T. After that one number is raised, the bias of class 3, by the amount that is best on the
validation set. That is the experiment of Hinton, Vinyals & Dean 2015, section 3, with fewer images.

One student sees 7s and 8s alone, also as in the paper; there the biases of all eight classes that it
never saw are raised by the same number. The student with all digits is the reference.
"""

import functools
import sys

import torch
import torch.nn.functional as F

from course_lib import datasets, distillation, evaluation, models, training
from course_lib.lessons import experiments

RECIPE = {"temperatures": [1, 2, 4, 8, 20], "epochs": 20}
QUICK = {"temperatures": [4], "epochs": 1}
SEEN = {"all digits": range(10), "no 3": [0, 1, 2, 4, 5, 6, 7, 8, 9], "7 and 8": [7, 8]}


def cases(recipe):
    soft = [{"seen": "no 3", "way": "soft", "T": T} for T in recipe["temperatures"]]
    others = [{"seen": "no 3", "way": way, "T": 0} for way in ("labels", "hard")]
    last = {"seen": "7 and 8", "way": "soft", "T": max(recipe["temperatures"])}
    return [*soft, *others, last, {"seen": "all digits", "way": "labels", "T": 0}]


def run(case, seed, recipe, mnist):
    """Each test image's class in the student's answer, and how many of the 3s are recognized."""
    with evaluation.one_thread():
        network = student(case, seed, recipe, mnist)
        logits = {part: evaluation.predict(network, mnist[part]) for part in ("validation", "test")}
    unseen = torch.tensor([digit not in SEEN[case["seen"]] for digit in range(10)])
    raised = best_raise(logits["validation"], mnist["validation"].tensors[1], unseen)
    answers = (logits["test"] + raised * unseen).argmax(-1)
    threes = mnist["test"].tensors[1] == 3
    measured = {"correct": int((answers[threes] == 3).sum()), "n": int(threes.sum())}
    before = logits["test"].argmax(-1)
    return {**measured, "raised": raised, "before": before.char(), "answers": answers.char()}


def student(case, seed, recipe, mnist):
    images, labels = mnist["train"].tensors
    seen = torch.isin(labels, torch.tensor(SEEN[case["seen"]]))
    train = torch.utils.data.TensorDataset(images[seen], labels[seen])
    told = teacher_logits()[seen]
    how = training.Recipe(recipe["epochs"], seed=seed, select_from_last=1)
    fresh = models.build(models.LeNet300, seed)
    loss = functools.partial(LOSSES[case["way"]], T=case["T"])
    return distillation.distill(fresh, told, {"train": train}, how, loss=loss).model


def from_labels(student_logits, teacher_logits, labels, T):
    return F.cross_entropy(student_logits, labels)


def from_soft_answers(student_logits, teacher_logits, labels, T):
    return distillation.soft_loss(student_logits, teacher_logits, T)


def from_hard_answers(student_logits, teacher_logits, labels, T):
    return F.cross_entropy(student_logits, teacher_logits.argmax(-1))


LOSSES = {"labels": from_labels, "soft": from_soft_answers, "hard": from_hard_answers}


def best_raise(logits, labels, unseen):
    """What to add to the logits of the unseen classes: the least number with the best accuracy."""
    amounts = [step / 4 for step in range(161)]
    right = [int(((logits + a * unseen).argmax(-1) == labels).sum()) for a in amounts]
    return amounts[right.index(max(right))]


@functools.cache
def teacher_logits():
    return evaluation.predict(models.digit_teacher(), datasets.mnist()["train"])


EXPERIMENT = experiments.Experiment(RECIPE, datasets.mnist, cases, run, seeds=5, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
