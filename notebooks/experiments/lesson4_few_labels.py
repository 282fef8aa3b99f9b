"""How much does a teacher add when only 200 sentences have a label?

The teacher is given: somebody trained it on all 7,241 labeled sentences. A student gets 200 of the
labels, and other sentences without theirs. All ways train for the same number of steps:

- `labels alone`: the labeled sentences, over and over;
- `teacher`: the labeled sentences and unlabeled ones, each once, with DistilBERT's three losses;
- `hard answers`: the same sentences, each once, where the teacher gives the unlabeled ones only its
  most probable class. This control shows what more than a class is worth.

Each seed draws its own labeled sentences. Nothing is chosen here, so the test set is used for every
case; the learning rate is that of lesson4_ablation.
Models compute in bfloat16. A linear model on TF-IDF learns from the same labels.
"""

import functools
import sys

import torch
from datasets import concatenate_datasets
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from course_lib import datasets, evaluation, models, training
from course_lib.batching import labels_of, lengths
from course_lib.distillation.loop import distill_hidden
from course_lib.distillation.students import student_from_teacher
from course_lib.lessons import experiments

RECIPE = {
    "labels": 200,
    "sentences": 2560,  # that a student sees, repeats counted
    "batch_size": 32,
    "lr": 4e-4,
    "warmup": 0.1,
    "precision": "bfloat16",
    "teacher_sentences": None,  # all of them: the course's teacher
}
QUICK = {"labels": 20, "sentences": 96, "teacher_sentences": 160}
LAYERS = (1, 3, 5)  # layers 2, 4 and 6
WAYS = ("labels alone", "teacher", "hard answers")
STARTS = ["MiniLM's layers 2, 4, 6", "teacher's layers 2, 4, 6"]


def cases(recipe):
    """Two starts, each with and without a teacher, and with its hard answers; and TF-IDF."""
    grid = [{"start": start, "way": way} for start in STARTS for way in WAYS]
    return [*grid, {"start": "TF-IDF", "way": "labels alone"}]


def run(case, seed, recipe, data):
    """Which test sentences are answered correctly."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data["train"]), generator=generator).tolist()
    if case["start"] == "TF-IDF":
        right = linear(order[: recipe["labels"]], data["test"])
    else:
        # With its cache, autocast would keep the first step's weights.
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            right = correct(train(case, seed, order, recipe, data), data["test"])
    return {"correct": int(right.sum()), "n": len(right), "test": right}  # bool [2000]


def train(case, seed, order, recipe, data):
    """The student of one case; `order` is a shuffled list of all training sentences."""
    n, total = recipe["labels"], recipe["sentences"]
    plan = training.Recipe(
        epochs=1,
        lr=recipe["lr"],
        batch_size=recipe["batch_size"],
        warmup=recipe["warmup"],
        decay=True,
        seed=seed,
    )
    few, rest = data["train"].select(order[:n]), data["train"].select(order[n:total])
    student = start(case["start"], seed, recipe)
    match case["way"]:
        case "labels alone":
            again = data["train"].select([order[i % n] for i in range(total)])
            return training.fit(student, {"train": again}, plan).model
        case "teacher":
            given = teacher(recipe["teacher_sentences"])
            return distill_hidden(student, given, {"train": few}, plan, transfer=rest).model
        case "hard answers":
            given = teacher(recipe["teacher_sentences"])
            answers = evaluation.predict(given, rest).argmax(-1)
            told = rest.remove_columns("labels").add_column("labels", answers.tolist())
            both = concatenate_datasets([few, told.cast(few.features)])
            return training.fit(student, {"train": both}, plan).model
        case way:
            raise ValueError(f"unknown way {way!r}")


def start(name, seed, recipe):
    """An untrained student with frozen embeddings."""
    source = models.load_encoder(seed=seed)
    if name.startswith("teacher"):
        source = teacher(recipe["teacher_sentences"])
    student = student_from_teacher(source, LAYERS)
    student.base_model.embeddings.requires_grad_(False)
    return student


@functools.cache
def teacher(sentences):
    with torch.autocast("cpu", enabled=False):  # should it have to be trained
        return models.teacher(sentences)


def linear(chosen, test):
    """TF-IDF and logistic regression, trained on the chosen sentences; no setting is chosen."""
    texts = datasets.reviews()
    train = texts["train"].select(chosen)
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(C=8.0, max_iter=1000))
    model.fit(list(train["text"]), list(train["label"]))
    return torch.from_numpy(model.predict(list(texts["test"]["text"]))) == labels_of(test)


def correct(model, part):
    """`evaluation.correct`, with sentences of one length together: less padding, half of the time."""
    order = torch.tensor(lengths(part)).argsort(stable=True)
    right = evaluation.correct(model, part.select(order.tolist()))
    return right[order.argsort()]


EXPERIMENT = experiments.Experiment(
    RECIPE, models.reviews_tokenized, cases, run, seeds=3, quick=QUICK
)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
