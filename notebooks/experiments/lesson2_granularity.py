"""Single weights or whole neurons: which costs more accuracy at the same number of parameters?

Both start from the same trained LeNet-300-100 and go through the same rounds: prune, train for an
epoch, prune more, along the cubic schedule; then both train at the final size. Both use the same
score, magnitude: |w| for a weight, and for a neuron the mean |w| of the parameters that go with it
(Mao et al. 2017, section 3, add up |w| over each grain). A second pair of runs uses first-order
Taylor for both. The dense control has the same number of further epochs. No epoch is chosen.

`left` is the fraction of all parameters that are not zero, biases included, in both kinds.
"""

import functools
import sys

import torch
from torch import nn

from course_lib import datasets, evaluation, models, pruning, structured, training
from course_lib.lessons import experiments

RECIPE = {
    "train_epochs": 15,
    "rounds": 12,  # one epoch each
    "final_epochs": 8,
    "left": [0.3, 0.1, 0.05],
    "scored_on": 512,  # training images, for Taylor
}
QUICK = {"train_epochs": 1, "rounds": 2, "final_epochs": 1, "left": [0.1]}
WEIGHTS = 784 * 300 + 300 * 100 + 100 * 10
PARAMETERS = WEIGHTS + 300 + 100 + 10  # with the biases
UNITS, SCORES = ["weights", "neurons"], ["magnitude", "Taylor"]


def cases(recipe):
    """The dense control, then weights and neurons with each score at each size."""
    pruned = [
        {"units": units, "score": score, "left": left}
        for left in recipe["left"]
        for score in SCORES
        for units in UNITS
    ]
    return [{"units": "dense", "score": "none", "left": 1.0}, *pruned]


def run(case, seed, recipe, mnist):
    """Correct answers on the validation set and on each test image; widths, parameters and bytes."""
    with evaluation.one_thread():
        network = pruning.make_permanent(train(case, seed, recipe, mnist))
        validation = evaluation.evaluate(network, mnist["validation"])
        test = evaluation.correct(network, mnist["test"])  # bool [1000]
    return {
        "correct": validation.correct,
        "n": validation.n,
        "test": test,
        "widths": [network.fc1.out_features, network.fc2.out_features],
        "nonzero": sum(int(p.count_nonzero()) for p in network.parameters()),
        "bytes": evaluation.sparse_bytes(network),
        "operations": evaluation.operations(network, mnist["test"].tensors[0][:1]),
    }


def train(case, seed, recipe, mnist) -> nn.Module:
    """The network of one case: pruned in rounds, then trained at its final size."""
    start = dense(seed, recipe["train_epochs"])
    rounds, last = recipe["rounds"], recipe["final_epochs"]
    if case["units"] == "dense":
        return training.fit(start, mnist, settings(rounds + last, 100 + seed)).model
    few = datasets.subset(mnist["train"], recipe["scored_on"])
    fewer = fewer_weights if case["units"] == "weights" else fewer_neurons
    prune = functools.partial(fewer, score=case["score"], few=few)
    amounts = [pruning.cubic_sparsity(i / rounds, 1 - case["left"]) for i in range(1, rounds + 1)]
    each = settings(1, 100 + seed)
    network = pruning.iterative_pruning(start, mnist, each, amounts, prune).model
    return training.fit(network, mnist, settings(last, 200 + seed)).model


def fewer_weights(network, amount, score, few) -> nn.Module:
    """Masks that leave 1 − amount of *all* parameters nonzero; biases are never pruned."""
    scores = pruning.magnitude if score == "magnitude" else pruning.weight_taylor(network, few)
    return pruning.prune_weights(network, amount * PARAMETERS / WEIGHTS, score=scores)


def fewer_neurons(network, amount, score, few) -> nn.Module:
    """Whole neurons removed, until 1 − amount of all parameters are left."""
    scores = sum_of_magnitudes if score == "magnitude" else structured.gate_taylor(network, few)
    return structured.prune(network, amount, score=scores)


def sum_of_magnitudes(network, group) -> torch.Tensor:
    """|w| added up over a neuron's row, bias and column; `prune` divides it by their number."""
    parts = ((piece.tensor_in(network).detach().abs(), piece.dim) for piece in group.slices)
    return sum(part.movedim(dim, 0).reshape(group.units, -1).sum(1) for part, dim in parts)


@functools.cache
def dense(seed, epochs) -> nn.Module:
    """The trained network that all cases of one seed start from."""
    fresh = models.build(models.LeNet300, seed)
    return training.fit(fresh, datasets.mnist(), settings(epochs, seed)).model


def settings(epochs, seed) -> training.Recipe:
    return training.Recipe(epochs=epochs, seed=seed, select_from_last=1)


EXPERIMENT = experiments.Experiment(RECIPE, datasets.mnist, cases, run, seeds=5, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
