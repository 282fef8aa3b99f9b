"""How much comes back after nine of thirty layers were dropped? SmolLM2, distilled or fine-tuned.

The layers of the lowest block influence go. Then the small model reads training reviews, each once, in
one of two ways: it learns the teacher's distribution of every next token (distilled, forward KL at
temperature 1), or the next token of the text itself (fine-tuned). Both read the same reviews in the
same order with the same learning rates. Each number of steps is a training of its own, whose learning
rate falls to 0 at its end. The table of embeddings stays as it is. One seed, which
changes the order of the reviews.
"""

import functools
import sys

from torch.utils.data import TensorDataset

from course_lib import datasets, evaluation, models, structured, training
from course_lib.datasets import sources
from course_lib.distillation import distill_tokens
from course_lib.lessons import experiments

RECIPE = {
    "model": "SmolLM2",
    "length": 256,  # tokens of each review
    "ranked_on": 8,  # training reviews
    "measured_on": 24,  # reviews of the validation and of the test part
    "dropped": 9,
    "steps": [20, 100, 300],  # a step takes some seconds on two cores
    "batch": 4,  # reviews in a step
    "lr": 3e-4,
}
QUICK = {"model": "tiny", "length": 16, "measured_on": 3, "dropped": 1, "steps": [2, 4]}
WAYS = ["distilled", "fine-tuned"]


def cases(recipe):
    """The whole model, the small one as cut, and after each training."""
    trained = [{"way": way, "steps": steps} for steps in recipe["steps"] for way in WAYS]
    return [{"way": "whole", "steps": 0}, {"way": "as cut", "steps": 0}, *trained]


def run(case, seed, recipe, data):
    """The loss on each review, in nats, and how many tokens it had."""
    if case["way"] == "whole":
        model = whole(recipe)
    else:
        model = trained(case, seed, recipe) if case["steps"] else cut(recipe)
    found = {"parameters": sum(p.numel() for p in model.parameters())}
    for part in ("validation", "test"):
        reviews = tokens(recipe, recipe["measured_on"], part)
        measured = evaluation.perplexity(model, reviews)
        found |= {part: measured.losses, f"{part} tokens": measured.tokens}
    return found


def trained(case, seed, recipe):
    """The small model after so many steps."""
    texts = {"train": TensorDataset(tokens(recipe, case["steps"] * recipe["batch"], "train"))}
    rates = {"lr": recipe["lr"], "warmup": 0.1, "decay": True}
    how = training.Recipe(epochs=1, batch_size=recipe["batch"], seed=seed, **rates)
    if case["way"] == "distilled":
        return distill_tokens(cut(recipe), whole(recipe), texts, how).model
    return training.fit(cut(recipe), texts, how, loss=training.next_token_loss).model


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
