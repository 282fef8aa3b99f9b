"""How much comes back after nine of thirty layers were dropped? SmolLM2, distilled or fine-tuned.

The layers of the lowest block influence go. Then the small model reads training reviews, each once, in
one of two ways: it learns the teacher's distribution of every next token (distilled, forward KL at
temperature 1), or the next token of the text itself (fine-tuned). Both read the same reviews in the
same order with the same learning rate, which falls to 0 at the end of the training. The perplexity is
measured on the way, after each number of steps in "measured_after", so only the last measurement has
the whole training's learning rate behind it. The table of embeddings stays as it is. One seed, which
changes the order of the reviews.

A step takes some 6 seconds fine-tuned and 9 distilled on two cores: about 27 minutes in all for 100
steps. Each way is kept as it is finished, so an interrupted run goes on with the next one.
"""

import functools
import sys

import torch
from torch.utils.data import TensorDataset

from course_lib import datasets, evaluation, models, structured, training
from course_lib.datasets import sources
from course_lib.distillation import distill_tokens
from course_lib.lessons import experiments

RECIPE = {
    "model": "SmolLM2",
    "length": 256,  # tokens of each review
    "ranked_on": 8,  # training reviews
    "measured_on": 24,  # validation reviews
    "dropped": 9,
    "measured_after": [20, 50, 100],  # steps; the last ends the training
    "batch": 4,  # reviews in a step
    "lr": 3e-4,
}
QUICK = {"model": "tiny", "length": 16, "measured_on": 3, "dropped": 1, "measured_after": [2, 4]}
WAYS = ["whole", "as cut", "fine-tuned", "distilled"]


def cases(recipe):
    """The whole model, the small one as cut, and the two trainings."""
    return [{"way": way} for way in WAYS]


def run(case, seed, recipe, data):
    """After each number of steps, the loss on each validation review, in nats ``[after, reviews]``."""
    reviews, found = tokens(recipe, recipe["measured_on"], "validation"), []
    steps = recipe["measured_after"] if case["way"] in WAYS[2:] else [0]

    def measure(model, progress):
        if round(progress * steps[-1]) in steps:
            found.append(evaluation.perplexity(model, reviews))

    model = whole(recipe) if case["way"] == "whole" else cut(recipe)
    if case["way"] in WAYS[2:]:
        train(case["way"], model, seed, recipe, measure)
    else:
        measure(model, 1.0)
    return {
        "after": steps,
        "losses": torch.stack([one.losses for one in found]),
        "tokens": found[0].tokens,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def train(way, model, seed, recipe, measure):
    """Train a copy of the small model; `measure` is called with it after every step."""
    reviews = recipe["measured_after"][-1] * recipe["batch"]
    texts = {"train": TensorDataset(tokens(recipe, reviews, "train"))}
    rates = {"lr": recipe["lr"], "warmup": 0.1, "decay": True}
    how = training.Recipe(epochs=1, batch_size=recipe["batch"], seed=seed, **rates)
    if way == "distilled":
        distill_tokens(model, whole(recipe), texts, how, after_step=measure)
    else:
        training.fit(model, texts, how, loss=training.next_token_loss, after_step=measure)


def cut(recipe):
    """The model without the layers of the lowest block influence."""
    model = whole(recipe)
    influence = structured.block_influence(
        model, TensorDataset(tokens(recipe, recipe["ranked_on"], "train"))
    )
    kept = influence.argsort()[recipe["dropped"] :].tolist()
    small = structured.remove_layers(model, kept)
    small.get_input_embeddings().requires_grad_(False)
    return small


@functools.cache
def language(name):
    return models.language_model(name)


def whole(recipe):
    return language(recipe["model"]).model


def tokens(recipe, n, part):
    return datasets.review_tokens(language(recipe["model"]).tokenizer, n, recipe["length"], part)


def checksums():
    """Of the model's file and of the reviews. A lesson compares them without reading the files."""
    return {**sources.SOURCES["smollm2"].files, **sources.SOURCES["imdb"].files}


EXPERIMENT = experiments.Experiment(RECIPE, checksums, cases, run, seeds=1, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
