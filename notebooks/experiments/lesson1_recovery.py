"""How much accuracy can training bring back after pruning? LeNet-300-100 on MNIST, four ways.

Every way starts from the same trained network and has the same number of further epochs; so has the
dense control. Of these epochs, `iterative` and `gradual` spend the last `final_epochs` at the final
sparsity, and one-shot pruning spends all of them there. No epoch is chosen: the last one counts.

The curves are measured on the validation set. The test set is used for one sparsity, `test_sparsity`,
and for the dense control.
"""

import functools
import sys

from torch import nn

from course_lib import datasets, evaluation, models, pruning, training
from course_lib.lessons import experiments

RECIPE = {
    "train_epochs": 15,
    "prune_epochs": 20,
    "final_epochs": 8,
    "rounds": 4,  # of iterative pruning, before the last one
    "sparsities": [0.8, 0.9, 0.95, 0.97, 0.99],
    "test_sparsity": 0.97,
}
QUICK = {"train_epochs": 2, "prune_epochs": 2, "final_epochs": 1, "rounds": 1}
QUICK = {**QUICK, "sparsities": [0.9, 0.97]}
WAYS = ["one-shot, no training", "one-shot", "iterative", "gradual"]


def cases(recipe):
    """The dense control, and each way at each sparsity."""
    pruned = [{"way": way, "sparsity": s} for s in recipe["sparsities"] for way in WAYS]
    return [{"way": "dense, more epochs", "sparsity": 0.0}, *pruned]


def run(case, seed, recipe, mnist):
    """Correct answers on the validation set and, for one sparsity, on each test example."""
    with evaluation.one_thread():  # threads would only wait for each other in so small a network
        network = train(case, seed, recipe, mnist)
        validation = evaluation.evaluate(network, mnist["validation"])
        measured = {"correct": validation.correct, "n": validation.n}
        if case["sparsity"] in (0.0, recipe["test_sparsity"]):
            measured["test"] = evaluation.correct(network, mnist["test"])  # bool [1000]
    return measured


def train(case, seed, recipe, mnist) -> nn.Module:
    """The network that one of the ways leads to."""
    start, sparsity = dense(seed, recipe["train_epochs"]), case["sparsity"]
    epochs, last = recipe["prune_epochs"], recipe["final_epochs"]

    def fit(network, epochs):
        return training.fit(network, mnist, settings(epochs, 100 + seed)).model

    match case["way"]:
        case "dense, more epochs":
            return fit(start, epochs)
        case "one-shot, no training":
            return pruning.prune_weights(start, sparsity)
        case "one-shot":
            return fit(pruning.prune_weights(start, sparsity), epochs)
        case "iterative":  # each round prunes the same share of the weights that are left
            rounds = recipe["rounds"]
            shares = [1 - (1 - sparsity) ** (i / (rounds + 1)) for i in range(1, rounds + 1)]
            each = settings((epochs - last) // rounds, 100 + seed)
            network = pruning.iterative_pruning(start, mnist, each, shares).model
            return fit(pruning.prune_weights(network, sparsity), last)
        case "gradual":  # a cubic schedule (Zhu & Gupta 2017), then epochs at the final sparsity
            schedule = settings(epochs, 100 + seed)
            end = (epochs - last) / epochs
            return pruning.gradual_pruning(start, mnist, schedule, sparsity, end=end).model
        case way:
            raise ValueError(f"unknown way {way!r}; expected one of {WAYS}")


@functools.cache
def dense(seed, epochs) -> nn.Module:
    """The trained network that all ways of one seed start from."""
    fresh = models.build(models.LeNet300, seed)
    return training.fit(fresh, datasets.mnist(), settings(epochs, seed)).model


def settings(epochs, seed) -> training.Recipe:
    return training.Recipe(epochs=epochs, seed=seed, select_from_last=1)


EXPERIMENT = experiments.Experiment(RECIPE, datasets.mnist, cases, run, seeds=5, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
