"""How much accuracy comes back after a transformer was cut? MiniLM, fine-tuned or distilled.

Half of the heads and two thirds of the FFN neurons go, chosen by Taylor. Then the pruned model trains
on 2,400 of the training sentences, once through, in one of two ways: on the labels (fine-tuned), or
on the teacher's outputs (distilled, temperature 2). Embeddings stay as they are. The seed changes the
order of the sentences and dropout. No epoch is chosen.
"""

import copy
import functools
import sys
from dataclasses import replace

from course_lib import evaluation, models, structured
from course_lib.distillation import distill, distillation_loss
from course_lib.lessons import experiments
from course_lib.models import zoo

RECIPE = {
    "heads": 0.5,
    "ffn": 2 / 3,
    "scored_on": 400,
    "sentences": 2400,  # a third of the training part
    "lr": 2e-4,
    "temperature": 2.0,
    "teacher": "all",
}
QUICK = {"scored_on": 16, "sentences": 64, "teacher": 160}
WAYS = {"fine-tuned": 0.0, "distilled": 1.0}  # alpha: the weight of the teacher's outputs


def cases(recipe):
    """The whole teacher, the pruned model as it was cut, and after each kind of training."""
    return [{"way": way} for way in ["teacher", "as cut", *WAYS]]


def run(case, seed, recipe, reviews):
    """Correct answers on the validation set and on each test sentence."""
    return measure(case["way"], seed if case["way"] in WAYS else 0, tuple(recipe.items()))


@functools.cache
def measure(way, seed, recipe):
    """What `run` returns; cached, because the first two cases have no randomness."""
    recipe = dict(recipe)
    data = reviews(recipe["teacher"])
    model = {"teacher": teacher, "as cut": pruned}.get(way, functools.partial(trained, way, seed))
    network = model(tuple(recipe.items()))
    validation = evaluation.evaluate(network, data["validation"])
    return {
        "correct": validation.correct,
        "n": validation.n,
        "test": evaluation.correct(network, data["test"]),  # bool [2000]
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def trained(way, seed, recipe):
    """The pruned model after one pass over the sentences."""
    values = dict(recipe)
    student = copy.deepcopy(pruned(recipe))
    student.base_model.embeddings.requires_grad_(False)
    train = reviews(values["teacher"])["train"].select(range(values["sentences"]))
    logits = models.cached_logits(teacher(recipe), train)
    loss = functools.partial(distillation_loss, T=values["temperature"], alpha=WAYS[way])
    how = replace(zoo.TEACHER, epochs=1, lr=values["lr"], seed=seed)
    return distill(student, logits, {"train": train}, how, loss=loss).model


@functools.cache
def pruned(recipe):
    """The teacher without half of its heads and two thirds of its FFN neurons."""
    values, whole = dict(recipe), teacher(recipe)
    some = reviews(values["teacher"])["train"].select(range(values["scored_on"]))
    score = structured.gate_taylor(whole, some)
    keep = {}
    for suffix in ("heads", "ffn"):
        names = [name for name in structured.groups(whole) if name.endswith(suffix)]
        keep |= structured.choose(whole, values[suffix], score, names)
    return structured.remove(whole, keep)


@functools.cache
def teacher(recipe):
    """The course's teacher; a small one to try the script out."""
    size = dict(recipe)["teacher"]
    return (
        models.teacher() if size == "all" else models.teacher(size, replace(zoo.TEACHER, lr=3e-4))
    )


@functools.cache
def reviews(size):
    return models.reviews_tokenized(None if size == "all" else size)


EXPERIMENT = experiments.Experiment(RECIPE, models.reviews_tokenized, cases, run, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
