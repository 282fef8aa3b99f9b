"""Prune first, or distill first? Five orders in a fair race.

Each student has three layers and ends with a quarter of their heads and units. All see the same
sentences in six equal stages, with the same falling learning rates. Only one thing differs: how much
of the width is left in each stage. `distill, prune, recover` is `distill, then prune` with its cut one
stage earlier, so that the last stage is a short recovery. It has one seed, the others have three: their
rows were made by the same functions before they were a script, so the minutes are an estimate.
"""

import functools
import sys

import torch

from course_lib import datasets, distillation, evaluation, models, structured, training
from course_lib.compression import shapes
from course_lib.lessons import experiments
from course_lib.pruning.schedules import cubic_sparsity

STAGES = 6
WIDTHS = {  # order → the share of heads and units that is left in each stage
    "prune, then distill": [0.25] * STAGES,
    "prune while distilling": [
        1 - cubic_sparsity(stage / STAGES, 0.75, end=0.7) for stage in range(1, STAGES + 1)
    ],
    "distill, prune, distill": [1.0] * 3 + [0.25] * 3,
    "distill, prune, recover": [1.0] * 5 + [0.25],
    "distill, then prune": [1.0] * STAGES,
}
RECIPE = {
    "teacher_sentences": None,  # all of them: the course's teacher
    "sentences": 7241,  # labeled ones, and as many unlabeled ones
    "layers": [1, 3, 5],  # 2, 4 and 6
    "end": 0.25,  # the share of heads and units that is left at the end
    "scored_on": 400,
    "lr": 3e-4,
    "batch_size": 32,
    "T": 2,
    "alpha": 0.7,
    "widths": WIDTHS,
    "one_seed": ["distill, prune, recover"],
}
QUICK = {"teacher_sentences": 160, "sentences": 96, "scored_on": 16}


def data():
    parts = models.reviews_tokenized()
    more = datasets.transfer_set().shuffle(seed=0).select(range(len(parts["train"])))
    return {**parts, "unlabeled": datasets.tokenize(more, models.load_tokenizer())}


def cases(recipe):
    return [{"order": order} for order in recipe["widths"]]


def run(case, seed, recipe, data):
    """Which test sentences the student of this order answers correctly."""
    if seed and case["order"] in recipe["one_seed"]:
        return {}
    student = train(recipe["widths"][case["order"]], seed, recipe, data)
    right = evaluation.correct(student, data["test"])
    size = sum(parameter.numel() for parameter in student.parameters())
    return {"correct": int(right.sum()), "n": len(right), "test": right, "parameters": size}


def train(widths, seed, recipe, data):
    """Three layers, distilled in six stages; before each, what is too much goes."""
    n, T, alpha = recipe["sentences"], recipe["T"], recipe["alpha"]
    parts = [data[name].select(range(n)) for name in ("train", "unlabeled")]
    told = [models.cached_logits(teacher(recipe["teacher_sentences"]), part) for part in parts]
    loss = functools.partial(distillation.distillation_loss, T=T, alpha=alpha)
    student = distillation.student_from_teacher(
        teacher(recipe["teacher_sentences"]), recipe["layers"]
    )
    student = structured.shorten(student, 64)
    student.base_model.embeddings.requires_grad_(False)
    for i, width in enumerate(widths):
        plan = training.Recipe(
            1, lr=recipe["lr"] * (1 - i / STAGES), batch_size=recipe["batch_size"], warmup=0.1,
            seed=seed,
        )  # fmt: skip
        labeled, rest = (part.select(range(i, n, STAGES)) for part in parts)
        logits = torch.cat([one[i::STAGES] for one in told])
        student = down_to(student, width, recipe, data)
        student = distillation.distill(
            student, logits, {"train": labeled}, plan, loss=loss, transfer=rest
        ).model
    return down_to(student, recipe["end"], recipe, data)


def down_to(student, share, recipe, data):
    """The student with this share of the heads and units that three whole layers have."""
    now = {"heads": 0, "feed-forward units": 0}
    for group in structured.groups(student).values():
        now[group.kind] += group.units
    layers = len(recipe["layers"])
    whole = {"heads": 12 * layers, "feed-forward units": 1536 * layers}
    left = [round(share * n) / now[kind] for kind, n in whole.items()]
    if min(left) >= 1:
        return student
    few = data["train"].select(range(recipe["scored_on"]))
    return shapes.narrower(student, *left, structured.gate_taylor(student, few))


@functools.cache
def teacher(sentences):
    return models.teacher(sentences)


EXPERIMENT = experiments.Experiment(RECIPE, data, cases, run, seeds=3, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
