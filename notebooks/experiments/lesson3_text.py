"""A given teacher, many sentences, few labels: how good does a small text CNN become?

The teacher is the course's own, `models.teacher()`: MiniLM, fine-tuned on all 7,241 labeled training
sentences. The student is a text CNN that has n of these labels, or none. There are four ways to train
it, all with about 452 steps:

- labels alone: the n labeled sentences and their labels;
- soft, same sentences: the teacher's soft answers to the same n sentences;
- soft, all sentences: its soft answers to 14,482 sentences, and no label at all;
- hard, all sentences: the control, in which the teacher gives only its most probable class.

Each seed draws other labeled sentences. TF-IDF with logistic regression is the linear baseline. The
last epoch counts: none is chosen. Lesson 3's first table of texts.
"""

import functools
import sys

import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from course_lib import batching, datasets, distillation, evaluation, models, training
from course_lib.lessons import experiments

RECIPE = {"labels": [200, 2000, 7241], "steps": 452, "lr": 2e-3, "T": 2.0, "sentences": 7241}
QUICK = {"labels": [64], "steps": 2, "sentences": 200}
BOTH = ("train", "transfer")  # as many sentences from each
BY_LABELS = ["labels alone", "soft, same sentences", "TF-IDF, labels alone"]
BY_TEACHER = ["teacher", "soft, all sentences", "hard, all sentences"]


def data():
    transfer = datasets.transfer_set().shuffle(seed=0).select(range(7241))
    transfer = datasets.tokenize(transfer, models.load_tokenizer())
    return {**models.reviews_tokenized(), "transfer": transfer}


def cases(recipe):
    """The teacher, the students that need no labels, and the others for each number of labels."""
    few = [{"way": way, "labels": n} for n in recipe["labels"] for way in BY_LABELS]
    return [*({"way": way, "labels": 0} for way in BY_TEACHER), *few]


def run(case, seed, recipe, parts):
    """Which test sentences are answered correctly, how many, and the calibration error."""
    with evaluation.one_thread():
        logits = answers(case, seed, recipe, parts)
    labels = batching.labels_of(parts["test"])
    right = logits.argmax(-1) == labels
    ece = evaluation.expected_calibration_error(logits, labels).ece
    return {"correct": int(right.sum()), "n": len(right), "test": right, "ece": round(ece, 4)}


def answers(case, seed, recipe, parts):
    """Logits [2000, 2] on the test sentences."""
    if case["way"] == "teacher":
        return models.cached_logits(teacher(), parts["test"])
    if case["way"].startswith("TF-IDF"):
        return linear(chosen(len(parts["train"]), case["labels"], seed))
    return evaluation.predict(student(case, seed, recipe, parts), parts["test"])


def student(case, seed, recipe, parts):
    """The text CNN that one of the ways leads to."""
    words = datasets.tokens_seen(parts["train"])  # in two or more training sentences
    fresh = models.build(lambda: models.TextCNN(words), seed)
    train, extra = (parts[part].select(range(recipe["sentences"])) for part in BOTH)
    told = [models.cached_logits(teacher(), part) for part in (train, extra)]
    if case["labels"]:
        rows = chosen(len(train), case["labels"], seed)
        train, extra, told = train.select(rows.tolist()), None, [told[0][rows]]
    n = sum(map(len, told))
    epochs = round(recipe["steps"] / (n // 64)) or 1
    how = training.Recipe(epochs, recipe["lr"], decay=True, seed=seed, select_from_last=1)
    loss = functools.partial(LOSSES[case["way"].partition(",")[0]], T=recipe["T"])
    data = {"train": train}
    return distillation.distill(fresh, torch.cat(told), data, how, loss=loss, transfer=extra).model


def from_labels(student_logits, teacher_logits, labels, T):
    return F.cross_entropy(student_logits, labels)


def from_soft_answers(student_logits, teacher_logits, labels, T):
    return distillation.soft_loss(student_logits, teacher_logits, T)


def from_hard_answers(student_logits, teacher_logits, labels, T):
    return F.cross_entropy(student_logits, teacher_logits.argmax(-1))


LOSSES = {"labels alone": from_labels, "soft": from_soft_answers, "hard": from_hard_answers}


def chosen(total, n, seed):
    """Which n of all sentences have labels."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:n]


@functools.cache
def teacher():
    return models.teacher()


def linear(rows):
    """TF-IDF and logistic regression, with its regularization chosen on the validation set."""
    parts = datasets.reviews()
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", sublinear_tf=True)
    train = parts["train"].select(rows.tolist())
    x = {"train": words.fit_transform(train["text"][:])}
    x |= {part: words.transform(parts[part]["text"][:]) for part in ("validation", "test")}
    fits = [
        LogisticRegression(C=C, max_iter=1000).fit(x["train"], train["label"][:])
        for C in (2.0, 8.0, 32.0, 128.0)
    ]

    best = max(
        fits, key=lambda model: model.score(x["validation"], parts["validation"]["label"][:])
    )
    return torch.from_numpy(best.predict_log_proba(x["test"]))


EXPERIMENT = experiments.Experiment(RECIPE, data, cases, run, seeds=3, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
