"""Which layers of a language model can go? SmolLM2, nothing is trained.

Two rankings of its 30 layers, both on training reviews: the block influence, and the loss when each
layer is left out in turn. Then the first layers of each ranking are dropped, and as many random ones,
and the perplexity on other reviews is measured. The speed is measured for the first ranking. There is
one random draw for each number of layers, and no seed changes anything else.
"""

import functools
import sys

import torch
from torch.utils.data import TensorDataset

from course_lib import datasets, evaluation, models, structured
from course_lib.datasets import sources
from course_lib.lessons import experiments

RECIPE = {
    "model": "SmolLM2",
    "length": 256,  # tokens of each review
    "ranked_on": 8,  # training reviews
    "measured_on": 24,  # validation reviews
    "dropped": [0, 3, 6, 9, 12, 15],
    "rounds": 6,
}
QUICK = {"model": "tiny", "length": 16, "ranked_on": 2, "measured_on": 3, "dropped": [0, 1, 2]}
RANKED_BY = ["block influence", "left-out loss", "random"]


def cases(recipe):
    """The two rankings, every number of layers by each of them and at random, and the speeds."""
    drops = [
        {"what": "dropped", "by": by, "layers": n}
        for n in recipe["dropped"]
        for by in RANKED_BY[: 3 if n else 1]
    ]
    rankings = [{"what": "ranking", "by": by, "layers": 0} for by in RANKED_BY[:2]]
    return [*rankings, *drops, {"what": "speed", "by": RANKED_BY[0], "layers": 0}]


def run(case, seed, recipe, data):
    """The ranking's scores; the loss on each validation review; or tokens per second."""
    if case["what"] == "ranking":
        return {
            "scores": scores(case["by"], recipe["model"], recipe["ranked_on"], recipe["length"])
        }
    if case["what"] == "speed":
        return speeds(recipe)
    small, gone = without(case["by"], case["layers"], recipe)
    found = evaluation.perplexity(small, validation(recipe))
    return {
        "losses": found.losses,
        "tokens": found.tokens,
        "gone": gone,
        "parameters": sum(p.numel() for p in small.parameters()),
    }


@functools.cache
def scores(by, name, n, length):
    """A score for each layer; those with the lowest go first."""
    model, train = language(name).model, tokens(name, n, length, "train")
    if by == "block influence":
        return structured.block_influence(model, TensorDataset(train))
    if by == "random":
        return torch.rand(
            model.config.num_hidden_layers, generator=torch.Generator().manual_seed(0)
        )
    layers = range(model.config.num_hidden_layers)
    left_out = (structured.remove_layers(model, [j for j in layers if j != i]) for i in layers)
    losses = [evaluation.perplexity(one, train).losses.sum() for one in left_out]
    return torch.stack(losses) / (n * (length - 1))


def without(by, count, recipe):
    """The model without the `count` layers of the lowest score, and which these are, from 0."""
    model = language(recipe["model"]).model
    ranked = scores(by, recipe["model"], recipe["ranked_on"], recipe["length"]).argsort().tolist()
    gone = sorted(ranked[:count])
    kept = [i for i in range(model.config.num_hidden_layers) if i not in gone]
    return structured.remove_layers(model, kept), gone


def speeds(recipe):
    """Tokens per second for each number of dropped layers, all measured in turns."""
    small = {n: without(RANKED_BY[0], n, recipe)[0] for n in recipe["dropped"]}
    prompt = validation(recipe)[:1]
    found = evaluation.generation_speed(small, prompt, rounds=recipe["rounds"])
    return {
        "prefill": [found[n].prefill_rate for n in small],
        "decode": [found[n].decode_rate for n in small],
    }


def validation(recipe):
    """The reviews that the perplexity is measured on."""
    return tokens(recipe["model"], recipe["measured_on"], recipe["length"], "validation")


@functools.cache
def language(name):
    return models.language_model(name)


@functools.cache
def tokens(name, n, length, part):
    return datasets.review_tokens(language(name).tokenizer, n, length, part)


def checksums():
    """Of the model's file and of the reviews. A lesson compares them without reading the files."""
    return {**sources.SOURCES["smollm2"].files, **sources.SOURCES["imdb"].files}


EXPERIMENT = experiments.Experiment(RECIPE, checksums, cases, run, seeds=1, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
