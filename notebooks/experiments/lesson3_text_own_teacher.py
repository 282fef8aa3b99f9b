"""Nobody gives you a teacher: what do n labels bring if you train one yourself?

For each number of labels n, MiniLM is fine-tuned on those n sentences alone. Then its answers train the
text CNN of lesson3_text.py, with as many steps: on the same n sentences, or on 3,000 training sentences
(the n among them) without their labels, with soft answers, or with hard ones as the control.

Each seed draws other sentences and trains another teacher. The last epoch counts: none is chosen.
Lesson 3's second table of texts.
"""

import functools
import sys

import torch
import torch.nn.functional as F

from course_lib import batching, datasets, distillation, evaluation, models, training
from course_lib.lessons import experiments

RECIPE = {
    "labels": [200],
    "steps": 452,
    "lr": 2e-3,
    "T": 2.0,
    "sentences": 3000,
    "test": 2000,
}
RECIPE |= {"teacher_steps": {"200": 60}, "teacher_lr": 1e-4}
QUICK = {"labels": [64], "steps": 2, "sentences": 200, "test": 100, "teacher_steps": {"64": 2}}
WAYS = ["teacher", "soft, same sentences", "soft, all sentences", "hard, all sentences"]


def cases(recipe):
    return [{"way": way, "labels": n} for n in recipe["labels"] for way in WAYS]


def run(case, seed, recipe, parts):
    """Which test sentences are answered correctly, and how many."""
    n, way = case["labels"], case["way"]
    order = torch.randperm(len(parts["train"]), generator=torch.Generator().manual_seed(seed))
    pool = order[: recipe["sentences"]].tolist()  # the first n have labels
    train, test = parts["train"].select(pool), parts["test"].select(range(recipe["test"]))
    with evaluation.one_thread():
        how = training.Recipe(
            round(recipe["teacher_steps"][str(n)] / (n // 32)), recipe["teacher_lr"], 32,
            warmup=0.1, decay=True, seed=seed, select_from_last=1,
        )  # fmt: skip
        on_train, on_test = teacher_logits(tuple(pool), n, how, len(test))
        right = on_test.argmax(-1) == batching.labels_of(test)
        if way != "teacher":
            used = range(n) if way.endswith("same sentences") else range(len(train))
            network = student(way, on_train[: len(used)], train.select(used), seed, recipe)
            right = evaluation.correct(network, test)
    return {"correct": int(right.sum()), "n": len(right), "test": right}


def student(way, told, sentences, seed, recipe):
    """The text CNN, trained on the teacher's answers to these sentences; their labels are not used."""
    words = datasets.tokens_seen(models.reviews_tokenized()["train"])
    fresh = models.build(lambda: models.TextCNN(words), seed)
    epochs = round(recipe["steps"] / (len(sentences) // 64)) or 1
    how = training.Recipe(epochs, recipe["lr"], decay=True, seed=seed, select_from_last=1)

    def loss(student_logits, teacher_logits, labels):
        if way.startswith("hard"):
            return F.cross_entropy(student_logits, teacher_logits.argmax(-1))
        return distillation.soft_loss(student_logits, teacher_logits, recipe["T"])

    return distillation.distill(fresh, told, {"train": sentences}, how, loss=loss).model


@functools.cache
def teacher_logits(pool, n, how, test):
    """Logits on the sentences of the pool and on the test set, of MiniLM fine-tuned on the first n."""
    parts = models.reviews_tokenized()
    encoder = models.load_encoder(seed=how.seed)
    encoder.base_model.embeddings.requires_grad_(False)
    train = parts["train"].select(pool)
    fitted = training.fit(encoder, {"train": train.select(range(n))}, how).model
    asked = train, parts["test"].select(range(test))
    return [evaluation.predict(fitted, part) for part in asked]


EXPERIMENT = experiments.Experiment(
    RECIPE, models.reviews_tokenized, cases, run, seeds=3, quick=QUICK
)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
