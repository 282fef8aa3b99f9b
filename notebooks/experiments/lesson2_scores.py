"""Which score should choose the heads and FFN neurons that go? MiniLM, half of them, as cut.

Three scores: Taylor (the gate's gradient), magnitude, and random. Each ranks the units in two ways:
those of all layers together, or those of each layer by themselves, so that every layer gives half.
The test set is not used.

The seed changes the random score, and the training sentences that Taylor looks at. Magnitude has no
randomness, so all its seeds are the same. Nothing is trained.
"""

import functools
import sys
from dataclasses import replace

from course_lib import evaluation, models, structured
from course_lib.lessons import experiments
from course_lib.models import zoo

RECIPE = {"share": 0.5, "scored_on": 400, "teacher": "all"}
QUICK = {"scored_on": 16, "teacher": 160}
UNITS, SCORES = ["heads", "FFN neurons"], ["Taylor", "magnitude", "random"]
RANKED = ["all layers together", "each layer by itself"]


def cases(recipe):
    """The whole teacher, and each score and ranking for heads and for FFN neurons."""
    cut = [
        {"units": units, "score": score, "ranked": ranked}
        for units in UNITS
        for ranked in RANKED
        for score in SCORES
    ]
    return [{"units": "none", "score": "none", "ranked": "none"}, *cut]


def run(case, seed, recipe, reviews):
    """Correct answers on the validation set, and the units left in each layer."""
    fixed = case["score"] in ("none", "magnitude")
    return measure(tuple(case.items()), 0 if fixed else seed, tuple(recipe.items()))


@functools.cache
def measure(case, seed, recipe):
    """What `run` returns; cached, because some cases have no randomness."""
    case, recipe = dict(case), dict(recipe)
    keep = kept_units(case, seed, recipe)
    model = structured.remove(teacher(recipe["teacher"]), keep)
    data = reviews(recipe["teacher"])
    validation = evaluation.evaluate(model, data["validation"])
    return {
        "correct": validation.correct,
        "n": validation.n,
        "kept": [len(units) for units in keep.values()],
    }


def kept_units(case, seed, recipe):
    """Group → the units that stay."""
    if case["units"] == "none":
        return {}
    whole = teacher(recipe["teacher"])
    suffix = ".heads" if case["units"] == "heads" else ".ffn"
    names = [name for name in structured.groups(whole) if name.endswith(suffix)]
    score = {
        "Taylor": lambda: taylor(seed, recipe["scored_on"], recipe["teacher"]),
        "magnitude": lambda: structured.weight_norm,
        "random": lambda: structured.random_score(seed),
    }[case["score"]]()
    alone = case["ranked"] == "each layer by itself"
    return structured.choose(whole, recipe["share"], score, names, per_group=alone)


@functools.cache
def taylor(seed, n, size):
    """The gate's gradient on n training sentences, others for each seed."""
    train = reviews(size)["train"]
    first = seed * n % len(train)
    chosen = [i % len(train) for i in range(first, first + n)]
    return structured.gate_taylor(teacher(size), train.select(chosen))


@functools.cache
def teacher(size):
    """The course's teacher; a small one to try the script out."""
    if size == "all":
        return models.teacher()
    return models.teacher(size, replace(zoo.TEACHER, lr=3e-4))


@functools.cache
def reviews(size):
    return models.reviews_tokenized(None if size == "all" else size)


EXPERIMENT = experiments.Experiment(
    RECIPE, models.reviews_tokenized, cases, run, seeds=3, quick=QUICK
)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
