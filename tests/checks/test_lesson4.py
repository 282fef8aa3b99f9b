"""Plausible wrong answers to lesson 4's exercises, each named; and right ones in many styles."""

from __future__ import annotations

import copy
import functools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
import transformers
from scipy.stats import binom, binomtest, chi2_contingency, fisher_exact
from styles import answers, short
from torch import nn
from torch.utils.data import TensorDataset

from course_lib import checks, data, distilbert, distillation, measure, surgery
from course_lib.checks import lesson4
from course_lib.groups import groups
from course_lib.training import Fitted

WRONG, RIGHT, wrong, right = answers()


def with_prints(answer: Callable) -> Callable:
    def noisy(*given: Any) -> Any:
        print("given:", len(given))
        return answer(*given)

    return noisy


# --- 1 · layers_to_take ---------------------------------------------------------------------------

WRONG += [
    ("layers_to_take", mistake, answer)
    for mistake, answer in {
        "counted from 1": lambda of, take: [1 + i * of // take for i in range(take)],
        "the last layers only": lambda of, take: list(range(of))[-take:],
        "the first layers only": lambda of, take: np.arange(take),
        "the upper one of each group, not the lower": lambda of, take: list(range(of))[
            of // take - 1 :: of // take
        ],
        "every other one, however many are wanted": lambda of, take: [
            i for i in range(of) if i % 2 == 0
        ],
        "first and last are both fixed": lambda of, take: np.linspace(0, of - 1, take).round(),
        "the step for the layers": lambda of, take: of / take,
    }.items()
]
RIGHT["layers_to_take"] = {
    "list": lambda of, take: list(range(0, of, of // take)),
    "range": lambda of, take: range(0, of, of // take),
    "tuple": lambda of, take: tuple(range(of))[:: of // take],
    "comprehension": lambda of, take: [i * of // take for i in range(take)],
    "filter": lambda of, take: [i for i in range(of) if i % (of // take) == 0],
    "numpy": lambda of, take: np.arange(0, of, of // take),
    "floats": lambda of, take: [i * of / take for i in range(take)],
    "torch": lambda of, take: torch.arange(of).view(take, -1)[:, 0],
    "linspace": lambda of, take: np.linspace(0, of, take, endpoint=False).astype(int),
    "chunks": lambda of, take: torch.stack([chunk[0] for chunk in torch.arange(of).chunk(take)]),
}

# --- 2 · student_from -----------------------------------------------------------------------------


def smaller_config(teacher, layers):
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(layers)
    return config


def built(teacher, layers):
    return type(teacher)(smaller_config(teacher, layers))


@wrong("student_from", "a list of layers, not a model")
def _(teacher, layers):
    return nn.ModuleList(copy.deepcopy(teacher.bert.encoder.layer[i]) for i in layers)


@wrong("student_from", "the encoder without its classifier")
def _(teacher, layers):
    return student(teacher, layers).bert


@wrong("student_from", "the teacher itself is cut")
def _(teacher, layers):
    teacher.bert.encoder.layer = nn.ModuleList(teacher.bert.encoder.layer[i] for i in layers)
    teacher.config.num_hidden_layers = len(layers)
    return teacher


@wrong("student_from", "the teacher itself is cut")
def _(teacher, layers):  # a config that both share
    teacher.config.num_hidden_layers = len(layers)
    new = type(teacher)(teacher.config)
    new.bert.embeddings.load_state_dict(teacher.bert.embeddings.state_dict())
    return new


@wrong("student_from", "the student shares tensors with its teacher")
def _(teacher, layers):
    new = built(teacher, layers)
    new.bert.embeddings = teacher.bert.embeddings
    new.bert.encoder.layer = nn.ModuleList(teacher.bert.encoder.layer[i] for i in layers)
    new.bert.pooler, new.classifier = teacher.bert.pooler, teacher.classifier
    return new


@wrong("student_from", "the student shares tensors with its teacher")
def _(teacher, layers):
    new = student(teacher, layers)
    new.bert.embeddings = teacher.bert.embeddings
    return new


@wrong("student_from", "all five layers are still there")
def _(teacher, layers):
    new = copy.deepcopy(teacher)
    new.config.num_hidden_layers = len(layers)
    return new


@wrong("student_from", "the layers are new")
def _(teacher, layers):
    return built(teacher, layers)


@wrong("student_from", "the layers are new")
def _(teacher, layers):
    new = built(teacher, layers)
    new.bert.embeddings.load_state_dict(teacher.bert.embeddings.state_dict())
    new.classifier.load_state_dict(teacher.classifier.state_dict())
    return new


@wrong("student_from", "the first layers, whichever were asked for")
def _(teacher, layers):
    new = built(teacher, layers)
    new.load_state_dict(teacher.state_dict(), strict=False)
    return new


@wrong("student_from", "counted from 1")
def _(teacher, layers):
    return student(teacher, [i - 1 for i in layers])


@wrong("student_from", "the layers that should go have stayed")
def _(teacher, layers):
    return student(teacher, [i for i in range(5) if i not in layers])


@wrong("student_from", "the embeddings are new")
def _(teacher, layers):
    new, rest = built(teacher, layers), student(teacher, layers).state_dict()
    new.load_state_dict({k: v for k, v in rest.items() if "embeddings" not in k}, strict=False)
    return new


@wrong("student_from", "the pooler or the classifier is new")
def _(teacher, layers):
    new = built(teacher, layers)
    new.bert.load_state_dict(student(teacher, layers).bert.state_dict())
    return new


@wrong("student_from", "the pooler or the classifier is new")
def _(teacher, layers):
    new = student(teacher, layers)
    new.bert.pooler = built(teacher, layers).bert.pooler
    return new


@wrong("student_from", "the config still says five layers")
def _(teacher, layers):
    new = copy.deepcopy(teacher)
    new.bert.encoder.layer = nn.ModuleList(new.bert.encoder.layer[i] for i in layers)
    return new


@right("student_from")
def student(teacher, layers):
    new = copy.deepcopy(teacher)
    new.bert.encoder.layer = nn.ModuleList(new.bert.encoder.layer[i] for i in layers)
    new.config.num_hidden_layers = len(layers)
    return new


@right("student_from")
def deleted(teacher, layers):
    new = copy.deepcopy(teacher)
    for i in reversed(range(len(new.bert.encoder.layer))):
        if i not in layers:
            del new.bert.encoder.layer[i]
    new.config.num_hidden_layers = len(new.bert.encoder.layer)
    return new


@right("student_from")
def filled(teacher, layers):
    new = built(teacher, layers)
    new.bert.embeddings.load_state_dict(teacher.bert.embeddings.state_dict())
    new.bert.pooler.load_state_dict(teacher.bert.pooler.state_dict())
    new.classifier.load_state_dict(teacher.classifier.state_dict())
    for mine, i in zip(new.bert.encoder.layer, layers, strict=True):
        mine.load_state_dict(teacher.bert.encoder.layer[i].state_dict())
    return new


@right("student_from")
def renamed(teacher, layers):
    new, state = built(teacher, layers), {}
    for name, tensor in teacher.state_dict().items():
        if "encoder.layer." not in name:
            state[name] = tensor
            continue
        before, rest = name.split("encoder.layer.")
        number, rest = rest.split(".", 1)
        if int(number) in layers:
            state[f"{before}encoder.layer.{list(layers).index(int(number))}.{rest}"] = tensor
    new.load_state_dict(state)
    return new


@right("student_from")
def copied_layers(teacher, layers):
    new = built(teacher, layers)
    new.bert.embeddings = copy.deepcopy(teacher.bert.embeddings)
    new.bert.pooler = copy.deepcopy(teacher.bert.pooler)
    new.classifier = copy.deepcopy(teacher.classifier)
    for place, i in enumerate(layers):
        new.bert.encoder.layer[place] = copy.deepcopy(teacher.bert.encoder.layer[i])
    return new.eval()


@right("student_from")
def assigned(teacher, layers):
    new = copy.deepcopy(teacher)
    new.load_state_dict({k: v.clone() for k, v in new.state_dict().items()}, assign=True)
    return student(new, layers)


@right("student_from")
def tensor_by_tensor(teacher, layers):
    new, source = built(teacher, layers), student(teacher, layers)
    with torch.no_grad():
        for mine, theirs in zip(new.parameters(), source.parameters(), strict=True):
            mine.copy_(theirs)
    return new.train()


@right("student_from")
def the_courses_student(teacher, layers):
    return distilbert.student_from_teacher(teacher, layers)


@right("student_from")
def surgeons(teacher, layers):
    return surgery.remove_layers(teacher, layers)


@right("student_from")
def keyword_partial(teacher, layers):
    return functools.partial(student, layers=layers)(teacher)


RIGHT["student_from"]["with prints"] = with_prints(student)

# --- 3 · cosine_loss ------------------------------------------------------------------------------


@wrong("cosine_loss", "the cosine itself, not 1 − cosine")
def _(s, t, mask):
    return F.cosine_similarity(s, t, dim=-1)[mask.bool()].mean()


@wrong("cosine_loss", "the mask is not used")
def _(s, t, mask):
    return 1 - torch.cosine_similarity(s, t.detach(), -1).mean()


@wrong("cosine_loss", "divided by all positions instead of the words")
def _(s, t, mask):
    return ((1 - F.cosine_similarity(s, t, dim=2)) * mask).mean()


@wrong("cosine_loss", "picked, but divided by all positions")
def _(s, t, mask):
    return (1 - F.cosine_similarity(s, t, dim=2)).masked_fill(mask == 0, 0).sum() / mask.numel()


@wrong("cosine_loss", "a mean over sentences of their means")
def _(s, t, mask):
    rows = [
        (1 - F.cosine_similarity(a[m == 1], b[m == 1])).mean()
        for a, b, m in zip(s, t, mask, strict=True)
    ]
    return torch.stack(rows).mean()


@wrong("cosine_loss", "multiplied where it should be picked")
def _(s, t, mask):
    return ((1 - F.cosine_similarity(s, t, dim=-1)) * mask).sum() / mask.sum()


@wrong("cosine_loss", "the sum for the mean")
def _(s, t, mask):
    return nn.CosineEmbeddingLoss(reduction="sum")(
        s[mask.bool()], t[mask.bool()], torch.ones(int(mask.sum()))
    )


@wrong("cosine_loss", "along the words instead of the hidden numbers")
def _(s, t, mask):
    return (1 - nn.CosineSimilarity()(s, t)).mean()


@wrong("cosine_loss", "not divided by the lengths of the vectors")
def _(s, t, mask):
    return (1 - torch.einsum("blw,blw->bl", s, t))[mask == 1].mean()


@wrong("cosine_loss", "nothing can be learned from it")
def _(s, t, mask):
    return picked(s, t, mask).item()


@wrong("cosine_loss", "nothing can be learned from it")
def _(s, t, mask):  # the wrong side is detached
    return picked(s.detach(), t, mask) + 0 * t[mask.bool()].sum().detach()


@wrong("cosine_loss", "nothing can be learned from it")
@torch.no_grad()
def _(s, t, mask):
    return picked(s, t, mask)


@wrong("cosine_loss", "the gradient flows into the teacher")
def _(s, t, mask):
    return (1 - F.cosine_similarity(s[mask.bool()], t[mask.bool()])).mean()


@right("cosine_loss")
def picked(s, t, mask):
    keep = mask.bool()
    return (1 - F.cosine_similarity(s[keep], t.detach()[keep], dim=-1)).mean()


@right("cosine_loss")
def where_loss(s, t, mask):
    each = 1 - F.cosine_similarity(s, t.detach(), dim=-1)
    return torch.where(mask == 1, each, 0.0).sum() / mask.sum()


@right("cosine_loss")
def filled_mean(s, t, mask):
    each = 1 - nn.CosineSimilarity(dim=-1)(s, t.data)
    return each.masked_fill(mask == 0, 0).sum() / mask.count_nonzero()


@right("cosine_loss")
def loops(s, t, mask):
    losses = []
    for i in range(s.shape[0]):
        for j in range(s.shape[1]):
            if mask[i, j]:
                a, b = s[i, j], t[i, j].detach()
                losses.append(1 - a @ b / (a.norm() * b.norm()))
    return sum(losses) / len(losses)


@right("cosine_loss")
def einsum_loss(s, t, mask):
    a, b = F.normalize(s, dim=-1), F.normalize(t.detach().nan_to_num(), dim=-1)
    return 1 - torch.einsum("blw,blw,bl->", a, b, mask.float()) / mask.sum()


@right("cosine_loss")
def transformers_way(s, t, mask):  # as DistilBERT's own script has it
    keep = mask.unsqueeze(-1).expand_as(s).bool()
    a = torch.masked_select(s, keep).view(-1, s.size(-1))
    b = torch.masked_select(t.detach(), keep).view(-1, s.size(-1))
    return nn.CosineEmbeddingLoss(reduction="mean")(a, b, a.new_ones(a.size(0)))


@right("cosine_loss")
def in_place_on_a_copy(s, t, mask):
    t = t.detach().clone()
    t[mask == 0] = 1
    each = 1 - torch.cosine_similarity(s, t, -1)
    each = each.clone()
    each[mask == 0] = 0
    return each.sum().div(mask.sum())


@right("cosine_loss")
def half_of_the_chord(s, t, mask):
    keep = mask > 0
    a, b = F.normalize(s[keep], dim=-1), F.normalize(t[keep], dim=-1).detach()
    return (a - b).square().sum(-1).mean() / 2


@right("cosine_loss")
def float64(s, t, mask):
    return picked(s.double(), t.double(), mask)


@right("cosine_loss")
def without_gradient_for_the_teacher(s, t, mask):
    with torch.no_grad():
        b = t[mask.bool()] / t[mask.bool()].norm(dim=-1, keepdim=True)
    a = s[mask.bool()]
    return 1 - ((a * b).sum(-1) / a.norm(dim=-1)).mean()


@right("cosine_loss")
def the_courses_loss(s, t, mask):
    return distillation.hidden_cosine_loss(s, t, mask)


RIGHT["cosine_loss"] |= {"with prints": with_prints(picked), "partial": functools.partial(picked)}

# --- 4 · triple_loss ------------------------------------------------------------------------------


def soft(z, t, T=2.0):
    return T**2 * F.kl_div(
        (z / T).log_softmax(-1), (t.detach() / T).softmax(-1), reduction="batchmean"
    )


def hard(z, y):
    return F.cross_entropy(z, y, reduction="sum") / max(int((y != -100).sum()), 1)


def last(s, t, mask):
    return picked(s.hidden_states[-1], t.hidden_states[-1], mask)


@wrong("triple_loss", "the weights are in another order: 5 for the labels")
def _(s, t, y, mask):
    return 2 * soft(s.logits, t.logits) + 5 * hard(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "the weights are in the order 1, 2, 5")
def _(s, t, y, mask):
    return soft(s.logits, t.logits) + 2 * hard(s.logits, y) + 5 * last(s, t, mask)


@wrong("triple_loss", "the weights are missing")
def _(s, t, y, mask):
    return soft(s.logits, t.logits) + F.cross_entropy(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "the weights are divided by their sum")
def _(s, t, y, mask):
    return triple(s, t, y, mask) / 8


@wrong("triple_loss", "the hard loss asks the teacher, not the labels")
def _(s, t, y, mask):
    guess = t.logits.argmax(-1)
    return 5 * soft(s.logits, t.logits) + 2 * F.cross_entropy(s.logits, guess) + last(s, t, mask)


@wrong("triple_loss", "temperature on the hard loss, too")
def _(s, t, y, mask):
    return 5 * soft(s.logits, t.logits) + 2 * hard(s.logits / 2.0, y) + last(s, t, mask)


@wrong("triple_loss", "the soft loss without T²")
def _(s, t, y, mask):
    return 5 * soft(s.logits, t.logits) / 2**2 + 2 * hard(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "the soft loss without T²")
def _(s, t, y, mask):  # and everything below is wrong, too: one thing at a time
    kl = F.kl_div((s.logits / 2).log_softmax(1), (t.logits / 2).softmax(1), reduction="batchmean")
    return 5 * kl + 2 * F.cross_entropy(s.logits, y)


@wrong("triple_loss", "the soft loss at T = 1")
def _(s, t, y, mask):
    return 5 * soft(s.logits, t.logits, 1) + 2 * hard(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "T² is there, but the logits are not divided by T")
def _(s, t, y, mask):
    kl = F.kl_div(s.logits.log_softmax(1), t.logits.softmax(1), reduction="batchmean")
    return 5 * 4 * kl + 2 * hard(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "student and teacher are swapped in kl_div")
def _(s, t, y, mask):
    return 5 * soft(t.logits, s.logits) + 2 * hard(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "mean for batchmean")
def _(s, t, y, mask):
    kl = nn.KLDivLoss()((s.logits / 2).log_softmax(-1), (t.logits / 2).softmax(-1))
    return 5 * 4 * kl + 2 * hard(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "the first hidden state for the last")
def _(s, t, y, mask):
    first = picked(s.hidden_states[0], t.hidden_states[0], mask)
    return 5 * soft(s.logits, t.logits) + 2 * hard(s.logits, y) + first


@wrong("triple_loss", "the padding counts in the cosine loss")
def _(s, t, y, mask):
    cosine = (1 - F.cosine_similarity(s.hidden_states[-1], t.hidden_states[-1], dim=-1)).mean()
    return 5 * soft(s.logits, t.logits) + 2 * hard(s.logits, y) + cosine


@wrong("triple_loss", "the cosine itself, not 1 − cosine")
def _(s, t, y, mask):
    return 5 * soft(s.logits, t.logits) + 2 * hard(s.logits, y) + 1 - last(s, t, mask)


@wrong("triple_loss", "the hard loss is shared out to unlabelled sentences, too")
def _(s, t, y, mask):
    each = F.cross_entropy(s.logits, y, reduction="none")  # 0 where the label is −100
    return 5 * soft(s.logits, t.logits) + 2 * each.mean() + last(s, t, mask)


@wrong("triple_loss", "−100 counts as a class")
def _(s, t, y, mask):
    each = -s.logits.log_softmax(-1)[torch.arange(len(y)), y * (y >= 0)]
    return 5 * soft(s.logits, t.logits) + 2 * each.mean() + last(s, t, mask)


@wrong("triple_loss", "a batch without a label gives nan")
def _(s, t, y, mask):
    return 5 * soft(s.logits, t.logits) + 2 * F.cross_entropy(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "nothing can be learned from it")
def _(s, t, y, mask):
    return float(triple(s, t, y, mask))


@wrong("triple_loss", "the gradient flows into the teacher")
def _(s, t, y, mask):
    p, log_q = (t.logits / 2).softmax(-1), (s.logits / 2).log_softmax(-1)
    kl = 4 * (p * (p.log() - log_q)).sum(-1).mean()
    each = 1 - F.cosine_similarity(s.hidden_states[-1], t.hidden_states[-1], dim=-1)
    return 5 * kl + 2 * hard(s.logits, y) + each[mask.bool()].mean()


@wrong("triple_loss", "the gradient flows into the teacher's logits")
def _(s, t, y, mask):
    p, log_q = (t.logits / 2).softmax(-1), (s.logits / 2).log_softmax(-1)
    return 20 * (p * (p.log() - log_q)).sum(-1).mean() + 2 * hard(s.logits, y) + last(s, t, mask)


@wrong("triple_loss", "the gradient flows into the teacher's thoughts")
def _(s, t, y, mask):
    each = 1 - F.cosine_similarity(s.hidden_states[-1], t.hidden_states[-1], dim=-1)
    return 5 * soft(s.logits, t.logits) + 2 * hard(s.logits, y) + each[mask.bool()].mean()


@right("triple_loss")
def triple(s, t, y, mask):
    return 5 * soft(s.logits, t.logits) + 2 * hard(s.logits, y) + last(s, t, mask)


@right("triple_loss")
def known_only(s, t, y, mask):
    loss = 5.0 * soft(s.logits, t.logits) + 1.0 * last(s, t, mask)
    known = y != -100
    if known.any():
        loss = loss + 2.0 * F.cross_entropy(s.logits[known], y[known])
    return loss


@right("triple_loss")
def nan_to_zero(s, t, y, mask):
    return (
        5 * soft(s.logits, t.logits)
        + 2 * F.cross_entropy(s.logits, y).nan_to_num(0)
        + last(s, t, mask)
    )


@right("triple_loss")
def kl_by_hand(s, t, y, mask):
    told = t.logits.detach() / 2
    p = told.softmax(-1)
    kl = (p * (told.log_softmax(-1) - (s.logits / 2).log_softmax(-1))).sum(-1).mean()
    return 20 * kl + 2 * hard(s.logits, y) + last(s, t, mask)


@right("triple_loss")
def over_sentences(s, t, y, mask):
    total = sum(soft(a[None], b[None]) for a, b in zip(s.logits, t.logits, strict=True))
    labelled = [(z, label) for z, label in zip(s.logits, y, strict=True) if label >= 0]
    rows = [F.cross_entropy(z, label) for z, label in labelled]
    ce = sum(rows) / len(rows) if rows else 0
    return 5 * total / len(y) + 2 * ce + loops(s.hidden_states[-1], t.hidden_states[-1], mask)


@right("triple_loss")
def under_no_grad(s, t, y, mask):
    with torch.no_grad():
        p, theirs = F.softmax(t.logits / 2, 1), t.hidden_states[-1].clone()
    kl = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(s.logits / 2, 1), p) * 4
    return 5 * kl + 2 * hard(s.logits, y) + where_loss(s.hidden_states[-1], theirs, mask)


@right("triple_loss")
def by_keys(s, t, y, mask):
    states = s["hidden_states"][-1], t["hidden_states"][-1]
    return (
        5 * soft(s["logits"], t["logits"]) + 2 * hard(s["logits"], y) + einsum_loss(*states, mask)
    )


@right("triple_loss")
def weights_in_a_tensor(s, t, y, mask):
    parts = torch.stack([soft(s.logits, t.logits), hard(s.logits, y), last(s, t, mask)])
    return torch.tensor([5.0, 2.0, 1.0]) @ parts


@right("triple_loss")
def double(s, t, y, mask):
    z, told = s.logits.double(), t.logits.double()
    return 5 * soft(z, told) + 2 * hard(z, y) + last(s, t, mask).double()


@right("triple_loss")
def one_hot(s, t, y, mask):
    target = F.one_hot(y.clamp(min=0), 3) * (y != -100).unsqueeze(-1)
    ce = -(target * s.logits.log_softmax(-1)).sum() / target.sum().clamp(min=1)
    return 5 * soft(s.logits, t.logits) + 2 * ce + last(s, t, mask)


@right("triple_loss")
def the_courses_triple(s, t, y, mask):
    return distilbert.triple_loss(s, t, y, mask)


@right("triple_loss")
def of_the_courses_parts(s, t, y, mask):
    blend = distillation.distillation_loss(s.logits, t.logits, y, T=2, alpha=5 / 7)
    return 7 * blend + transformers_way(s.hidden_states[-1], t.hidden_states[-1], mask)


RIGHT["triple_loss"]["with prints"] = with_prints(triple)

# --- 5 · latency ----------------------------------------------------------------------------------


def measured(models, tokenizer, line, rounds, clock, *, warm=1, middle=statistics.median, ms=1000):
    """The right way; each wrong one differs in one thing."""
    batch, times = tokenizer(line), {name: [] for name in models}
    with torch.inference_mode():
        for model in models.values():
            model.eval()
            for _ in range(warm):
                model(**batch)
        for _ in range(rounds):
            for name, model in models.items():
                start = clock()
                model(**batch)
                times[name].append(ms * (clock() - start))
    return {name: middle(row) for name, row in times.items()}


WRONG += [
    ("latency", "no warm-up", functools.partial(measured, warm=0)),
    ("latency", "seconds for milliseconds", functools.partial(measured, ms=1)),
    ("latency", "the mean, not the median", functools.partial(measured, middle=statistics.mean)),
    ("latency", "the fastest, not the median", functools.partial(measured, middle=min)),
    ("latency", "the sum of all rounds", functools.partial(measured, middle=sum)),
]


@wrong("latency", "another clock than the given one")
def _(models, tokenizer, line, rounds, clock):
    return measured(models, tokenizer, line, rounds, time.perf_counter)


@wrong("latency", "the models are timed in training mode")
def _(models, tokenizer, line, rounds, clock):  # the naive way: all of it at once
    times = {}
    for name, model in models.items():
        start = clock()
        for _ in range(rounds):
            model(**tokenizer(line))
        times[name] = (clock() - start) / rounds
    return times


@wrong("latency", "the models are timed in training mode")
def _(models, tokenizer, line, rounds, clock):
    for model in models.values():
        model.eval  # noqa: B018 - the brackets are what is missing
    with torch.inference_mode():
        return in_a_list({k: Keeps(m) for k, m in models.items()}, tokenizer, line, rounds, clock)


@wrong("latency", "autograd keeps its record meanwhile")
def _(models, tokenizer, line, rounds, clock):
    return in_a_list(models, tokenizer, line, rounds, clock)


@wrong("latency", "no warm-up")
def _(models, tokenizer, line, rounds, clock):  # and tokenising inside
    return turns_with(lambda model: model(**tokenizer(line)), models, rounds, clock)


@wrong("latency", "tokenising is timed, too")
def _(models, tokenizer, line, rounds, clock):
    with torch.no_grad():
        for model in models.values():
            model.eval()(**tokenizer(line))
    return turns_with(lambda model: model(**tokenizer(line)), models, rounds, clock)


@wrong("latency", "one model after the other, not in turns")
def _(models, tokenizer, line, rounds, clock):
    return {
        name: measured({name: model}, tokenizer, line, rounds, clock)[name]
        for name, model in models.items()
    }


@wrong("latency", "one number for all models")
def _(models, tokenizer, line, rounds, clock):
    return statistics.mean(measured(models, tokenizer, line, rounds, clock).values())


class Keeps:
    """A model whose eval() does nothing."""

    def __init__(self, model):
        self.model = model

    def eval(self):
        return self

    def __call__(self, **batch):
        return self.model(**batch)


def in_a_list(models, tokenizer, line, rounds, clock):
    batch, rows = tokenizer(line), []
    for model in models.values():
        model.eval()(**batch)
    for _ in range(rounds):
        for name, model in models.items():
            start = clock()
            model(**batch)
            rows.append((name, clock() - start))
    return {k: 1000 * statistics.median(t for name, t in rows if name == k) for k in models}


def turns_with(ask, models, rounds, clock):
    times = {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, model in models.items():
                model.eval()
                start = clock()
                ask(model)
                times[name].append(1000 * (clock() - start))
    return {name: float(np.median(row)) for name, row in times.items()}


@right("latency")
def plain(models, tokenizer, line, rounds, clock):
    return measured(models, tokenizer, line, rounds, clock)


@right("latency")
def warmed_three_times(models, tokenizer, line, rounds, clock):
    return measured(models, tokenizer, line, rounds, clock, warm=3)


@right("latency")
def numpys(models, tokenizer, line, rounds, clock):
    return measured(models, tokenizer, line, rounds, clock, middle=np.median)


@right("latency")
def torchs(models, tokenizer, line, rounds, clock):
    return measured(
        models, tokenizer, line, rounds, clock, middle=lambda row: torch.tensor(row).median()
    )


@right("latency")
@torch.no_grad()
def decorated(models, tokenizer, line, rounds, clock):
    return in_a_list(models, tokenizer, line, rounds, clock)


@right("latency")
def first_round_thrown_away(models, tokenizer, line, rounds, clock):
    batch, times = tokenizer(line), {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, model in models.items():
                model.train(False)
                start = clock()
                model(**batch)
                times[name] += [1000 * (clock() - start)]
    return {name: statistics.median(row[1:]) for name, row in times.items()}


@right("latency")
def order_turned_each_round(models, tokenizer, line, rounds, clock):
    batch, names = tokenizer(line), list(models)
    table = np.zeros((rounds, len(names)))
    with torch.inference_mode():
        for model in models.values():
            model.eval()(**batch)
        for i in range(rounds):
            for j in range(len(names)) if i % 2 else reversed(range(len(names))):
                start = clock()
                models[names[j]](**batch)
                table[i, j] = clock() - start
    return dict(zip(names, 1000 * np.median(table, axis=0), strict=True))


@right("latency")
def modes_restored(models, tokenizer, line, rounds, clock):
    with measure.evaluating(*models.values()):
        batch = tokenizer(line)
        with torch.no_grad():
            for model in models.values():
                model(**batch)
            return turns_again(models, batch, rounds, clock)


def turns_again(models, batch, rounds, clock):
    times = [{n: timed(m, batch, clock) for n, m in models.items()} for _ in range(rounds)]
    return {name: statistics.median(row[name] for row in times) for name in models}


def timed(model, batch, clock):
    before = clock()
    model(**batch)
    after = clock()
    return (after - before) * 1e3


@right("latency")
def tokenised_each_time_outside(models, tokenizer, line, rounds, clock):
    times = {name: [] for name in models}
    with torch.inference_mode():
        for model in models.values():
            model.eval()(**tokenizer(line))
        for _ in range(rounds):
            for name, model in models.items():
                times[name].append(timed(model, tokenizer(line), clock))
    return {name: sorted(row)[len(row) // 2] for name, row in times.items()}


@right("latency")
def gradient_switched(models, tokenizer, line, rounds, clock):
    was = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        return in_a_list(models, tokenizer, line, rounds, clock)
    finally:
        torch.set_grad_enabled(was)


RIGHT["latency"]["with prints"] = with_prints(plain)

# --- 6 · compare ----------------------------------------------------------------------------------


def counts(a, b):
    return int((a & ~b).sum()), int((b & ~a).sum())


def verdict(p, a, b, level=0.05):
    winner = "A is better" if a.sum() > b.sum() else "B is better"
    return {"p": p, "verdict": winner if p < level else "no significant difference"}


def p_of(a, b):
    only_a, only_b = counts(a, b)
    return binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0


@wrong("compare", "one-sided")
def _(a, b):
    k, n = max(counts(a, b)), sum(counts(a, b))
    return verdict(binom.sf(k - 1, n, 0.5), a, b)


@wrong("compare", "one-sided, and A must be ahead")
def _(a, b):
    k, n = counts(a, b)[0], sum(counts(a, b))
    return verdict(binomtest(k, n, alternative="greater").pvalue if n else 1.0, a, b)


@wrong("compare", "two accuracies compared as if unpaired (z-test)")
def _(a, b):
    n, x, y = len(a), a.float().mean().item(), b.float().mean().item()
    z = (x - y) / math.sqrt(2 * (x + y) / 2 * (1 - (x + y) / 2) / n)
    return verdict(math.erfc(abs(z) / math.sqrt(2)), a, b)


@wrong("compare", "two accuracies compared as if unpaired (z-test)")
def _(a, b):
    table = [[int(a.sum()), int((~a).sum())], [int(b.sum()), int((~b).sum())]]
    return verdict(chi2_contingency(table, correction=False).pvalue, a, b)


@wrong("compare", "two accuracies compared as if unpaired (Fisher's test)")
def _(a, b):
    table = [[int(a.sum()), int((~a).sum())], [int(b.sum()), int((~b).sum())]]
    return verdict(fisher_exact(table)[1], a, b)


@wrong("compare", "sentences that both get right are counted on both sides")
def _(a, b):
    return verdict(binomtest(int(a.sum()), int(a.sum() + b.sum())).pvalue, a, b)


@wrong("compare", "sentences on which both agree are in the total")
def _(a, b):
    return verdict(binomtest(counts(a, b)[0], len(a)).pvalue, a, b)


@wrong("compare", "the chi-squared approximation")
def _(a, b):
    x, y = counts(a, b)
    p = math.erfc(math.sqrt((x - y) ** 2 / (x + y) / 2)) if x + y else 1.0
    return verdict(p, a, b)


@wrong("compare", "the approximation with its correction")
def _(a, b):
    x, y = counts(a, b)
    p = math.erfc(math.sqrt((abs(x - y) - 1) ** 2 / (x + y) / 2)) if x + y else 1.0
    return verdict(p, a, b)


@wrong("compare", "no significant difference, read as equal")
def _(a, b):
    result = verdict(p_of(a, b), a, b)
    equal = result["p"] >= 0.05
    return result | ({"verdict": "they are equally good"} if equal else {})


@wrong("compare", "p is read the wrong way round")
def _(a, b):
    p = p_of(a, b)
    winner = "A is better" if a.sum() > b.sum() else "B is better"
    return {"p": p, "verdict": winner if p > 0.05 else "no significant difference"}


@wrong("compare", "whoever has more wins, whatever p is")
def _(a, b):
    words = {1: "A is better", -1: "B is better", 0: "no significant difference"}
    return {"p": p_of(a, b), "verdict": words[int(torch.sign(a.sum() - b.sum()))]}


@wrong("compare", "a threshold of 10 %")
def _(a, b):
    return verdict(p_of(a, b), a, b, 0.1)


@wrong("compare", "a threshold of 1 %")
def _(a, b):
    return verdict(p_of(a, b), a, b, 0.01)


@wrong("compare", "A and B are swapped")
def _(a, b):
    return verdict(p_of(a, b), b, a)


@wrong("compare", "not a dict with p and verdict")
def _(a, b):
    return p_of(a, b), "A is better"


@wrong("compare", "it stops with an error")
def _(a, b):  # where no sentence differs
    return verdict(binomtest(counts(a, b)[0], sum(counts(a, b))).pvalue, a, b)


@right("compare")
def exact(a, b):
    return verdict(p_of(a, b), a, b)


@right("compare")
def the_courses_test(a, b):
    test = measure.paired_test(a, b)
    words = {"the first is better": "A is better", "the second is better": "B is better"}
    return {"p": test.p_value, "verdict": words.get(test.verdict, test.verdict)}


@right("compare")
def tails(a, b):
    k, n = min(counts(a, b)), sum(counts(a, b))
    return verdict(min(1.0, 2 * binom.cdf(k, n, 0.5)), a, b)


@right("compare")
def pascals_triangle(a, b):
    k, n = min(counts(a, b)), sum(counts(a, b))
    return verdict(min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n), a, b)


@right("compare")
def numpys_logic(a, b):
    a, b = a.numpy(), b.numpy()
    k, n = int(np.logical_and(a, ~b).sum()), int((a != b).sum())
    p = binomtest(k, n, 0.5, alternative="two-sided").pvalue if n > 0 else 1
    return verdict(np.float64(p), a, b)


@right("compare")
def a_loop(a, b):
    only = {"A": 0, "B": 0}
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        if x != y:
            only["A" if x else "B"] += 1
    p = binomtest(only["A"], sum(only.values())).pvalue if any(only.values()) else 1.0
    return verdict(p, a, b)


@right("compare")
def as_numbers(a, b):
    difference = a.int() - b.int()
    k, n = int((difference > 0).sum()), int(difference.abs().sum())
    return verdict(torch.tensor(binomtest(k, n).pvalue if n else 1.0), a, b)


@right("compare")
def counted_where_different(a, b):
    differ = a != b
    k, n = int(a[differ].sum()), int(differ.sum())
    return verdict(1.0 if n == 0 else binomtest(k, n).pvalue, a, b)


@right("compare")
def beta_function(a, b):
    k, n = max(counts(a, b)), sum(counts(a, b))
    tail = scipy.special.betainc(k, n - k + 1, 0.5) if n else 1.0
    return verdict(min(1.0, 2 * tail), a, b)


@right("compare")
def in_capitals(a, b):
    result = exact(a, b)
    return {"verdict": f" {result['verdict'].upper()} ", "p": result["p"]}


RIGHT["compare"] |= {"with prints": with_prints(exact), "partial": functools.partial(exact)}

# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exercise", "mistake", "answer"), WRONG, ids=short)
def test_a_plausible_wrong_answer_is_named(exercise, mistake, answer):
    with pytest.raises(checks.WrongAnswerError) as caught:
        getattr(checks, exercise)(answer)
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        pytest.param(e, a, id=f"{e}-{name}")
        for e, found in RIGHT.items()
        for name, a in found.items()
    ],
)
def test_a_right_answer_passes_in_any_style(exercise, answer, capsys):
    getattr(checks, exercise)(answer)
    assert f"✓ {exercise}" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", RIGHT)
def test_there_are_enough_of_both(exercise):
    named = {mistake for one, mistake, _ in WRONG if one == exercise}
    assert named >= {mistake.name for mistake in getattr(checks, exercise).mistakes}
    assert len(RIGHT[exercise]) >= 10


# --- 7 · the challenge ----------------------------------------------------------------------------


def vit(layers: int = 2, width: int = 32, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    sizes = lesson4.VIT | {"num_hidden_layers": layers, "hidden_size": width}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**sizes))


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """How many of 100 pictures each is right on: training would take the tests too long."""

    def of(yours: int, lessons: int) -> None:
        lessons_own = vit()
        monkeypatch.setattr(lesson4, "vit_student", lambda: lessons_own)
        many = {True: lessons, False: yours}
        monkeypatch.setattr(
            lesson4, "_right_on_test", lambda model: torch.arange(100) < many[model is lessons_own]
        )

    return of


def with_fewer_units() -> Any:
    model = vit()
    name = next(name for name, group in groups(model).items() if group.kind != "heads")
    return surgery.remove(model, {name: range(20)})


@pytest.mark.parametrize(
    ("mistake", "answer", "yours"),
    [
        ("the result of `distill` for its model", lambda: Fitted(vit(), [], 1), 90),
        ("no transformer", lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), 90),
        ("more than two layers", lambda: vit(6), 90),
        ("more than two layers", lambda: vit(3), 90),
        ("two layers, but wider ones", lambda: vit(2, 64), 90),
        ("it guesses", vit, 11),
        ("the lesson's is better", vit, 50),
        ("the difference could be luck", vit, 74),
        ("the difference could be luck", vit, 70),
    ],
)
def test_the_challenge_says_what_is_missing(score, mistake, answer, yours):
    score(yours, 70)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.two_layer_student(answer())
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    "answer",
    [
        vit,
        lambda: vit(1),
        lambda: vit().train(),
        lambda: vit(seed=7),
        lambda: vit().requires_grad_(False),
        lambda: copy.deepcopy(vit()),
        lambda: distilbert.student_from_teacher(vit(6), (0, 5)),
        lambda: distilbert.student_from_teacher(vit(6), (0, 3), fresh=True),
        lambda: surgery.remove_layers(vit(6), (3,)),
        with_fewer_units,
    ],
)
def test_the_challenge_takes_any_student_of_two_layers(score, answer, capsys):
    score(90, 70)
    checks.two_layer_student(answer())
    said = " ".join(capsys.readouterr().out.split())
    assert "its accuracy on the held-out pictures 0.9" in said and "how many layers it has" in said


def test_the_bound_on_parameters_is_the_size_of_two_layers():
    assert sum(p.numel() for p in vit().parameters()) == 19_658


def test_the_small_world_is_made_once(monkeypatch, tmp_path):
    """Teacher and student, on a few pictures: trained, cached, and read again."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    parts = {
        name: TensorDataset(torch.rand(8, 1, 28, 28), torch.arange(8) % 2)
        for name in ("train", "validation", "test")
    }
    monkeypatch.setattr(data, "mnist", lambda: parts)
    monkeypatch.setattr(lesson4, "TEACHER", lesson4.training.Recipe(1))
    monkeypatch.setattr(lesson4, "LESSON", lesson4.training.Recipe(1))
    first = lesson4.vit_student()
    assert not first.training and lesson4.vit_teacher().config.num_hidden_layers == 6
    monkeypatch.setattr(lesson4.training, "fit", None)  # a second training would stop here
    monkeypatch.setattr(lesson4.distillation, "distill", None)
    again = lesson4.vit_student()
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    with pytest.raises(checks.WrongAnswerError) as caught:  # the real look, on eight pictures
        checks.two_layer_student(copy.deepcopy(first))
    assert caught.value.mistake in ("the difference could be luck", "it guesses")
