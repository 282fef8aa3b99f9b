"""Every combination of five techniques: the points of lesson 5's explorer.

A student is distilled for each of twelve shapes (layers × width), in one pass over the labeled
sentences and as many unlabeled ones. Fewer tokens, fewer bits and zeros come on top, without more
training. One seed. Bytes are arithmetic; zeros are counted with a map of one bit for each weight.
"""

import functools
import itertools
import sys

import torch

from course_lib import (
    datasets,
    distillation,
    evaluation,
    models,
    pruning,
    quantization,
    structured,
    training,
)
from course_lib.compression import shapes
from course_lib.lessons import experiments
from course_lib.pruning.masks import make_permanent

RECIPE = {
    "teacher_sentences": None,  # all of them: the course's teacher
    "sentences": 7241,  # labeled ones, and as many unlabeled ones
    "validation": 800,
    "layers": {"6": [0, 1, 2, 3, 4, 5], "3": [1, 3, 5], "2": [0, 5], "1": [5]},
    "widths": [1.0, 0.5, 0.25],
    "seen": [0, 1, 3],  # tokens seen so often in the labeled sentences; 0: all tokens
    "bits": [32, 8, 4],
    "zeros": [0.0, 0.5, 0.75],
    "scored_on": 400,
    "lr": 2e-4,
    "batch_size": 32,
    "T": 2,
    "alpha": 0.7,
}
QUICK = {"teacher_sentences": 160, "sentences": 64, "validation": 64, "scored_on": 16}


def data():
    parts = models.reviews_tokenized()
    more = datasets.transfer_set().shuffle(seed=0).select(range(len(parts["train"])))
    return {**parts, "unlabeled": datasets.tokenize(more, models.load_tokenizer())}


def cases(recipe):
    grid = itertools.product(map(int, recipe["layers"]), recipe["widths"])
    return [{"layers": layers, "width": width} for layers, width in grid]


def run(case, seed, recipe, data):
    """What becomes of one student: [tokens, bits, zeros, bytes, correct validation sentences]."""
    student = train(case, seed, recipe, data)
    variants = []
    for seen in recipe["seen"]:
        model, words = student, models.load_tokenizer()
        if seen:
            tokens = datasets.tokens_seen(data["train"], at_least=seen)
            model, words = structured.prune_vocabulary(student, words, tokens)
        written = datasets.reviews()["validation"].select(range(recipe["validation"]))
        part = datasets.tokenize(written, words)
        for zeros, bits in itertools.product(recipe["zeros"], recipe["bits"]):
            size, correct = variant(model, zeros, bits, part)
            variants.append(
                [model.get_input_embeddings().num_embeddings, bits, zeros, size, correct]
            )
    return {"variants": variants, "n": recipe["validation"]}


def variant(model, zeros, bits, part):
    """Bytes by arithmetic, and the number of right answers."""
    within = [name for name in pruning.prunable(model) if ".layer." in name]
    sparse = make_permanent(pruning.prune_weights(model, zeros, layers=within))
    weights = sum(sparse.get_submodule(name).weight.numel() for name in within)
    final = quantization.fake_quantize(sparse, bits) if bits < 32 else sparse
    size = 4 * sum(map(torch.numel, model.parameters()))
    size = quantization.quantized_bytes(model, bits) if bits < 32 else size
    size -= (zeros * bits - 1) * weights / 8 if zeros else 0  # a map, one bit for each weight
    return round(size), int(evaluation.correct(final, part).sum())


def train(case, seed, recipe, data):
    """So many of the teacher's layers, this share of their heads and units; distilled."""
    whole, n = teacher(recipe["teacher_sentences"]), recipe["sentences"]
    student = distillation.student_from_teacher(whole, recipe["layers"][str(case["layers"])])
    student, width = structured.shorten(student, 64), case["width"]
    if width < 1:
        few = data["train"].select(range(recipe["scored_on"]))
        score = structured.gate_taylor(student, few)
        student = shapes.narrower(student, width, width, score)
    student.base_model.embeddings.requires_grad_(False)
    parts = [data[name].select(range(n)) for name in ("train", "unlabeled")]
    answers = torch.cat([models.cached_logits(whole, part) for part in parts])
    plan = training.Recipe(
        1, lr=recipe["lr"] / width**0.5, batch_size=recipe["batch_size"], warmup=0.1, decay=True,
        select_from_last=1, seed=seed,
    )  # fmt: skip
    T, alpha = recipe["T"], recipe["alpha"]
    loss = functools.partial(distillation.distillation_loss, T=T, alpha=alpha)
    labeled = {"train": parts[0]}
    student = distillation.distill(student, answers, labeled, plan, loss=loss, transfer=parts[1])
    return student.model.requires_grad_(True).eval()


@functools.cache
def teacher(sentences):
    return models.teacher(sentences)


EXPERIMENT = experiments.Experiment(RECIPE, data, cases, run, seeds=1, quick=QUICK)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
