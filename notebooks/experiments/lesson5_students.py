"""How small and how fast can a student of MiniLM become, and what accuracy does it keep?

Five recipes, from 12 times to 150 times smaller than the teacher. Each student is cut first, then
trained on the teacher's answers to much text, then written as an int8 file of ONNX Runtime.

- `a quarter wide`: all six layers, a quarter of the heads and units; one pass over the labeled
  sentences and as many of the transfer set. Lesson 6 makes it of any model.
- `three layers`: fewer and wider layers, narrow embeddings; the same text, once. One seed.
- `six layers` and `narrow`: trained twice over all the text. First the student's hidden states are
  compared with those of the teacher, layer by layer, then its answers.
- `text CNN`: a text CNN, which learns from the teacher's answers.

The recipes were chosen on the validation set; how, and what else was tried, is on the site's page on
the experiments of lesson 5. The last three were chosen and trained first, so earlier versions of them
had been measured on the test set: lesson 5 has a fresh one. Their rows were made by the same functions
before they were a script, half an hour each, so the minutes of this record are an estimate.
"""

import functools
import sys

import torch
from datasets import Dataset
from torch import nn

from course_lib import (
    batching,
    datasets,
    distillation,
    evaluation,
    models,
    quantization,
    structured,
    training,
)
from course_lib.compression import shapes
from course_lib.lessons import experiments

ONCE = {"text": {"as many": None}, "passes": 1, "batch_size": 32, "dropout": 0.0}
ALL = {"transfer": None, "varied": None, "found": 60_000}  # kind of text → sentences at most
TWICE = {"text": ALL, "hidden": 3, "second_lr": 1e-4, "passes": 1, "batch_size": 32, "dropout": 0.0}
CNN = {"seen": 2, "width": 64, "filters": 48, "lr": 2e-3, "batch_size": 64, "dropout": 0.2}
SIX = [0, 1, 2, 3, 4, 5]
RECIPE = {
    "teacher_sentences": None,  # all of them: the course's teacher
    "sentences": 10**6,  # at most, of each part and each kind of text
    "scored_on": 400,  # sentences, for Taylor
    "one_seed": ["three layers"],
    "positions": 64,  # the longest sentence, in tokens
    "T": 2,
    "alpha": 0.7,
    "ways": {
        "a quarter wide": {
            "layers": SIX, "heads": 0.25, "units": 0.25, "seen": 1, "rank": None, "lr": 4e-4,
        }
        | ONCE,
        "three layers": {
            "layers": [1, 3, 5], "heads": 0.42, "units": 0.3, "seen": 1, "rank": 128, "lr": 4e-4,
        }
        | ONCE,
        "six layers": {
            "layers": SIX, "heads": 0.45, "units": 0.2, "seen": 1, "rank": 80, "lr": 3e-4,
        }
        | TWICE,
        "narrow": {
            "layers": SIX, "heads": 0.19, "units": 0.095, "seen": 2, "rank": 56, "lr": 4e-4,
        }
        | TWICE,
        "text CNN": CNN | {"text": ALL, "passes": 3},
        # Less text, and as many steps: what did the text bring?
        "text CNN, transfer set, validation alone": CNN | {"text": {"transfer": None}, "passes": 15},
        "text CNN, + found, validation alone": CNN
        | {"text": {"transfer": None, "found": 60_000}, "passes": 5},
    },
}  # fmt: skip
QUICK = {"teacher_sentences": 160, "sentences": 64, "scored_on": 16}


def cases(recipe):
    return [{"student": name} for name in ["the teacher itself", *recipe["ways"]]]


def run(case, seed, recipe, data):
    """Which sentences the int8 file answers correctly, and before int8 those of the validation set."""
    if case["student"] == "the teacher itself":
        if seed:  # nothing in it is random: once is enough
            return {}
        parts = {name: reviews(recipe)[name] for name in ("validation", "test")}
        right = {name: correct(teacher(recipe), part) for name, part in parts.items()}
        int8 = quantization.quantize(teacher(recipe))
        right["int8"] = evaluation.correct(int8, parts["test"])
        right |= {"correct": int(right["test"].sum()), "n": len(right["test"])}
        return right | {"bytes": 4 * teacher(recipe).num_parameters()}
    if seed and case["student"] in recipe["one_seed"]:
        return {}
    student, words = train(recipe["ways"][case["student"]], seed, recipe)
    own = reviews_by(words, recipe)
    if "validation alone" in case["student"]:
        return {"float": evaluation.correct(student, own["validation"])}
    small = quantization.quantize(student)
    right = {name: evaluation.correct(small, own[name]) for name in ("validation", "test")}
    measured = right | {"float": evaluation.correct(student, own["validation"])}
    measured |= {"correct": int(right["test"].sum()), "n": len(right["test"])}
    measured |= {
        "bytes": len(small.content()),
        "parameters": sum(map(torch.numel, student.parameters())),
    }
    if case["student"] != "a quarter wide" and seed == 0:  # lesson 6 makes that one itself
        measured["file"] = torch.frombuffer(bytearray(small.content()), dtype=torch.uint8)
    return measured


def train(way, seed, recipe):
    """A trained student and its tokenizer."""
    if "filters" in way:
        return text_cnn(way, seed, recipe)
    return (layer_by_layer if "hidden" in way else answers_alone)(way, seed, recipe)


# --- the cut ---------------------------------------------------------------------------------------


def cut(way, recipe):
    """The teacher, cut as a recipe says, and its smaller tokenizer."""
    model = teacher(recipe)
    if len(way["layers"]) < model.config.num_hidden_layers:
        model = structured.remove_layers(model, way["layers"])
    scored_on = reviews(recipe)["train"]
    scored_on = scored_on.select(range(min(recipe["scored_on"], len(scored_on))))
    score = structured.gate_taylor(model, scored_on)
    model = shapes.narrower(model, way["heads"], way["units"], score)
    model, words = fewer_tokens(model, way["seen"], recipe)
    model = structured.shorten(model, recipe["positions"])
    model = model if way["rank"] is None else structured.factor_embeddings(model, way["rank"])
    model.get_input_embeddings().requires_grad_(way["rank"] is not None)
    return without_dropout(model, way["dropout"]), words


def fewer_tokens(model, seen, recipe):
    """Copies of model and tokenizer, with the tokens seen so often in the training part."""
    tokens = datasets.tokens_seen(reviews(recipe)["train"], at_least=seen)
    return structured.prune_vocabulary(model, models.load_tokenizer(), tokens)


def without_dropout(model, rate=0.0):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
    return model


# --- the training ----------------------------------------------------------------------------------


def answers_alone(way, seed, recipe):
    """A cut student, taught by the teacher's answers."""
    student, words = cut(way, recipe)
    labeled, unlabeled, answers = to_read(words, way, recipe)
    loss = soft_and_hard(recipe)
    plan, more = plan_of(way, seed), {"loss": loss, "transfer": unlabeled}
    return distillation.distill(student, answers, labeled, plan, **more).model, words


def layer_by_layer(way, seed, recipe):
    """A cut student, taught twice: by hidden states after each layer, then by the answers alone.

    In the first pass the teacher must read the same tokens: it is the teacher with the student's
    vocabulary. (After Jiao et al. 2020, section 3.1; they take squared distances, and attentions too.)
    """
    student, words = cut(way, recipe)
    student.requires_grad_(True)
    guide, _ = fewer_tokens(teacher(recipe), way["seen"], recipe)
    labeled, unlabeled, answers = to_read(words, way, recipe)
    loss = soft_and_hard(recipe)

    def hidden_too(output, guides, labels, mask):
        states = zip(output.hidden_states[1:], guides.hidden_states[1:], strict=True)
        apart = [distillation.hidden_cosine_loss(its, theirs, mask) for its, theirs in states]
        return loss(output.logits, guides.logits, labels) + way["hidden"] * sum(apart) / len(apart)

    plan = plan_of(way, seed)
    student = distillation.distill_hidden(
        student, guide, labeled, plan, loss=hidden_too, transfer=unlabeled
    ).model
    plan = plan_of(way | {"lr": way["second_lr"]}, seed)
    more = {"loss": loss, "transfer": unlabeled}
    return distillation.distill(student, answers, labeled, plan, **more).model, words


def text_cnn(way, seed, recipe):
    """Lesson 3's text CNN over fewer tokens. It starts with the teacher's embeddings, in their
    strongest directions."""
    small, words = fewer_tokens(teacher(recipe), way["seen"], recipe)
    table = small.get_input_embeddings().weight.detach()[1:]  # [tokens, 384], padding left out
    left, sizes, _ = torch.linalg.svd(table - table.mean(0), full_matrices=False)
    start = (left * sizes)[:, : way["width"]]  # [tokens, width]
    tokens = torch.arange(1, len(table) + 1)
    cnn = models.build(lambda: models.TextCNN(tokens, way["width"], way["filters"]), seed)
    cnn.dropout.p = way["dropout"]
    with torch.no_grad():
        cnn.words.embedding.weight[2:] = 0.3 * start / start.std()
    labeled, unlabeled, answers = to_read(words, way, recipe)
    plan, more = plan_of(way, seed), {"loss": soft_and_hard(recipe), "transfer": unlabeled}
    return distillation.distill(cnn, answers, labeled, plan, **more).model, words


def plan_of(way, seed):
    return training.Recipe(
        way["passes"], lr=way["lr"], batch_size=way["batch_size"], warmup=0.1, decay=True,
        select_from_last=1, seed=seed,
    )  # fmt: skip


def soft_and_hard(recipe):
    return functools.partial(distillation.distillation_loss, T=recipe["T"], alpha=recipe["alpha"])


# --- what students read ----------------------------------------------------------------------------


def to_read(words, way, recipe):
    """The labeled and the unlabeled sentences by the student's tokenizer; the teacher's answers."""
    where = recipe["sentences"], recipe["teacher_sentences"]
    lines = [lines_of(kind, *where)[: most or None] for kind, most in way["text"].items()]
    parts = [
        reviews(recipe)["train"],
        *(tokens_of(some, models.load_tokenizer()) for some in lines),
    ]
    answers = torch.cat([models.cached_logits(teacher(recipe), part) for part in parts])
    labeled = {"train": reviews_by(words, recipe)["train"]}
    return labeled, tokens_of([line for some in lines for line in some], words), answers


@functools.cache
def lines_of(kind, most, teacher_sentences):
    """The sentences of one kind of unlabeled text, at most so many."""
    if kind == "as many":  # as there are labeled ones
        written = datasets.transfer_set().shuffle(seed=0)
        return written.select(range(min(most, len(datasets.reviews()["train"]))))["text"][:]
    if kind == "transfer":
        return datasets.transfer_set()["text"][:most]
    if kind == "found":
        return datasets.film_sentences(min(most, 60_000))["text"][:]
    recipe = {"sentences": most, "teacher_sentences": teacher_sentences}
    known, words = lines_of("transfer", most, teacher_sentences), models.load_tokenizer()
    seen = datasets.tokens_seen(reviews(recipe)["train"], tokens_of(known, words))
    near = datasets.neighbors(teacher(recipe), words, seen)
    written = datasets.reviews()["train"]["text"][:most]
    return datasets.augment([*written, *known], near)


def tokens_of(lines, words):
    """Lines as a tokenizer reads them."""
    return datasets.tokenize(Dataset.from_dict({"text": lines}), words)


def reviews_by(words, recipe):
    """The reviews by a tokenizer."""
    return {
        name: datasets.tokenize(part.select(range(min(recipe["sentences"], len(part)))), words)
        for name, part in datasets.reviews().items()
    }


@functools.cache
def _reviews(most):
    return reviews_by(models.load_tokenizer(), {"sentences": most})


def reviews(recipe):
    return _reviews(recipe["sentences"])


@functools.cache
def _teacher(sentences):
    return models.teacher(sentences)


def teacher(recipe):
    return _teacher(recipe["teacher_sentences"])


def correct(model, part):
    """`evaluation.correct`, with sentences of one length together: less padding, half of the time."""
    order = torch.tensor(batching.lengths(part)).argsort(stable=True)
    right = evaluation.correct(model, part.select(order.tolist()))
    return right[order.argsort()]


EXPERIMENT = experiments.Experiment(
    RECIPE, models.reviews_tokenized, cases, run, seeds=3, quick=QUICK
)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
