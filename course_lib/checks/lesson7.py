"""Checks for the exercises of lesson 7, a language model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from course_lib import datasets, evaluation, models
from course_lib.checks.checking import Check, call, calls
from course_lib.checks.comparing import Range
from course_lib.checks.guarding import EMPTY, Seen, TroubleError

Answer = Callable[..., Any]

# --- 1 · block influence ----------------------------------------------------------------------------

_BEFORE = torch.tensor([[1.0, 2.0, -0.5], [0.4, -1.2, 2.2]])
_AFTER = torch.tensor([[1.3, 1.8, 0.6], [2.5, -1.0, 0.3]])
_THREE = torch.tensor([[3.0, 1.0], [0.2, 0.5], [-2.0, 4.0]])
_LATER = torch.tensor([[2.0, 2.5], [-0.6, 0.1], [-1.0, 3.0]])

block_influence = Check(
    name="block_influence",
    right="""
def block_influence(before, after):
    lengths = before.norm(dim=-1) * after.norm(dim=-1)
    cosine = (before * after).sum(-1) / lengths
    return (1 - cosine).mean()
""",
    tries={
        "two tokens of three numbers": call(_BEFORE, _AFTER),
        "three tokens of two numbers": call(_THREE, _LATER),
        "what comes out is what went in": call(_BEFORE, _BEFORE),
        "what comes out is twice what went in": call(_BEFORE, 2 * _BEFORE),
        "what comes out points the other way": call(_THREE, -_THREE),
        "two texts of two tokens": call(
            torch.stack([_BEFORE, _AFTER]), torch.stack([_AFTER, _BEFORE.flip(0)])
        ),
    },
    mistakes="""
the cosine, not 1 minus it | A layer that changes nothing has a cosine of 1, and no influence.
  (1 - cosine).mean() => cosine.mean()
without the lengths | The product of two long vectors is large, whatever their directions. Divide by both lengths.
  lengths = before.norm(dim=-1) * after.norm(dim=-1) => lengths = 1
the length of the change, for its angle | Influence asks how far the direction turns. A vector that only becomes longer has not turned.
  = return ((after - before).norm(dim=-1) / before.norm(dim=-1)).mean()
the last token of each text alone | Every token goes through the layer, and each counts alike.
  (1 - cosine).mean() => (1 - cosine)[..., -1].mean()
divided by one of the lengths | The cosine is the product divided by both lengths.
  before.norm(dim=-1) * after.norm(dim=-1) => before.norm(dim=-1)
divided by the square of one length | One length is that of what went in, the other that of what came out.
  before.norm(dim=-1) * after.norm(dim=-1) => before.norm(dim=-1) ** 2
one cosine for all tokens together | Long tokens then count more. Each token has its own cosine, and the mean comes last.
  = return 1 - F.cosine_similarity(before.flatten(), after.flatten(), dim=0)
the cosine of the mean token | Tokens that turn in opposite directions would cancel. The mean comes last.
  = a, b = before.flatten(0, -2).mean(0), after.flatten(0, -2).mean(0)
  = return 1 - F.cosine_similarity(a, b, dim=0)
across the tokens instead of the hidden size | A hidden state is one token's row. The cosine is taken along the last dimension.
  = return (1 - F.cosine_similarity(before, after, dim=-2)).mean()
the distance | A layer may only make the vector longer. The direction counts.
  = return (after - before).norm(dim=-1).mean()
the size of the cosine | A vector that is turned round has changed as much as it can.
  (1 - cosine).mean() => (1 - cosine.abs()).mean()
exactly three dimensions are expected | Before the last dimension there may be one or two. dim=-1 does not ask how many.
  = batch, length, hidden = before.shape
  = return (1 - F.cosine_similarity(before, after, dim=-1)).sum() / (batch * length)
""",
    checked="vectors that stay, grow, turn round, and two texts at once",
    not_checked="padding, hidden states of zeros",
)

# --- 2 · Wanda's mask -------------------------------------------------------------------------------

_WEIGHT = torch.tensor([[0.5, -0.9, 0.2, 0.41], [-0.3, 0.12, 0.62, -0.7]])
_INPUTS = torch.tensor([[2.0, -0.3, 5.0, 0.6], [-3.0, 0.4, -6.0, 0.8], [1.5, 0.1, 2.0, -0.5]])
_WIDE = torch.tensor([[0.7, -0.2, 0.33, 0.9, -0.45, 0.05]])
_SPIKE = torch.tensor([[1.0, 9.0, 0.6, 1.1, 2.0, 3.0], [1.2, 0.0, 4.0, -1.0, 2.1, 3.3]])
_PEAK = torch.tensor([[4.0, 2.1], [0.0, 2.1], [0.0, 2.1]])  # a larger norm, and a smaller mean

wanda_mask = Check(
    name="wanda_mask",
    right="""
def wanda_mask(weight, inputs, amount):
    scores = weight.abs() * inputs.norm(dim=0)
    places = scores.argsort(1).argsort(1)  # from the lowest in each row
    return places >= round(amount * weight.shape[1])
""",
    tries={
        "two rows of four, half of them go": call(_WEIGHT, _INPUTS, 0.5),
        "the same, a quarter goes": call(_WEIGHT, _INPUTS, 0.25),
        "the same, 40 % go (1.6 of four weights)": call(_WEIGHT, _INPUTS, 0.4),
        "the same, 30 % go (1.2 of four weights)": call(_WEIGHT, _INPUTS, 0.3),
        "one row of six, two thirds go": call(_WIDE, _SPIKE, 2 / 3),
        "one row of six, 22 % go (1.32 of six weights)": call(_WIDE, _SPIKE, 0.22),
        "one row of six, many amounts": calls(
            {
                f"{amount:.0%}": (_WIDE, _SPIKE, amount)
                for amount in (0.04, 0.1, 0.3, 0.47, 0.78, 0.9)
            }
        ),
        "one row of six, nothing goes": call(_WIDE, _SPIKE, 0.0),
        "one row of five, half of them go (2.5 weights)": call(_WIDE[:, :5], _SPIKE[:, :5], 0.5),
        "two weights of 1; one input is 4, 0, 0 and the other 2.1 each time": call(
            torch.ones(1, 2), _PEAK, 0.5
        ),
        "is it made of True and False?": lambda answer: (
            str(np.asarray(call(_WEIGHT, _INPUTS, 0.5)(answer)).dtype) == "bool"
        ),
        "a row of small and a row of large weights": call(
            _WEIGHT * torch.tensor([[1.0], [20.0]]), _INPUTS, 0.5
        ),
    },
    mistakes="""
magnitude alone | A small weight on a large input matters. Multiply by the norm of the input.
  weight.abs() * inputs.norm(dim=0) => weight.abs()
the norms alone | A large weight on a small input matters, too. Multiply both.
  weight.abs() * inputs.norm(dim=0) => inputs.norm(dim=0).expand_as(weight)
the mean size for the norm | The norm squares the inputs, so a few large ones count more.
  inputs.norm(dim=0) => inputs.abs().mean(0)
the squared norm | The input then counts twice. Take the root.
  inputs.norm(dim=0) => inputs.square().sum(0)
one ranking for the whole matrix | Wanda compares weights within their output row. Otherwise rows with small weights lose all.
  = scores = weight.abs() * inputs.norm(dim=0)
  = places = scores.flatten().argsort().argsort().view_as(scores)
  = return places >= round(amount * scores.numel())
1 and 0 for True and False | Only a mask of True and False can be turned round by ~ and used as an index.
  places >= round(amount * weight.shape[1]) => (places >= round(amount * weight.shape[1])).float()
the mask is turned round | True means: the weight stays.
  places >= round => places < round
the largest go | The lowest scores go first.
  scores.argsort(1).argsort(1) => (-scores).argsort(1).argsort(1)
a quantile for a count | It interpolates, and lies beside the scores: another number of weights falls below it. Count them.
  = scores = weight.abs() * inputs.norm(dim=0)
  = return scores >= scores.quantile(amount, dim=1, keepdim=True)
weights compete within their column | Within a column the input is the same. Wanda compares the weights of a row.
  .argsort(1).argsort(1) => .argsort(0).argsort(0)
  weight.shape[1] => weight.shape[0]
where nothing goes it stops with an error | kthvalue counts from 1, so there is no 0th. Rank, or treat 0 apart.
  = scores = weight.abs() * inputs.norm(dim=0)
  = return scores > scores.kthvalue(round(amount * weight.shape[1]), dim=1, keepdim=True).values
a number of rows for a number of weights | The share is that of a row's weights: weight.shape[1].
  weight.shape[1] => weight.shape[0]
an order, not places | argsort says which weight comes where. Sorting that again says where each weight comes.
  scores.argsort(1).argsort(1) => scores.argsort(1)
the weights, not a mask | The mask says True or False for each weight.
  return places >= round(amount * weight.shape[1]) => return weight * (places >= round(amount * weight.shape[1]))
""",
    checked="shares of 0, a quarter, a half and two thirds, rows of different size, a rare large input",
    not_checked="equal scores, the pattern 2:4",
)

# --- 3 · KL over a vocabulary with padding ----------------------------------------------------------

_INF = float("inf")
_S = torch.tensor([[1.2, 0.1, -0.7, 0.4], [0.3, -1.1, 2.4, 0.9]])
_T = torch.tensor([[2.9, 1.3, -1.8, 0.2, 3.5], [0.4, 1.7, -0.2, 1.1, -0.8]])  # padded by one
_NO = torch.tensor([[0.5, -_INF, 1.5], [-_INF, 0.2, -0.4], [0.6, 1.4, -_INF]])
_ALSO = torch.tensor([[-0.5, -_INF, 0.8], [-_INF, 1.2, 0.3], [1.0, -0.2, -_INF]])
_RARE, _FREQUENT = torch.tensor([[0.5, -30.0, 1.0]]), torch.tensor([[0.0, -1.0, 0.3]])

padded_kl = Check(
    name="padded_kl",
    right="""
def padded_kl(student, teacher, vocabulary):
    log_q = student[:, :vocabulary].log_softmax(-1)
    log_p = teacher[:, :vocabulary].log_softmax(-1)
    ratio = torch.where(log_p > -torch.inf, log_p - log_q, 0.0)
    return (log_p.exp() * ratio).sum(-1).mean()
""",
    tries={
        "two tokens, vocabulary 4, no padding": call(_S, _T[:, :4], 4),
        "the teacher has one row of padding": call(_S, _T, 4),
        "both are padded, vocabulary 3": call(_S, _T, 3),
        "both are padded by one, vocabulary 3": call(_S, _T[:, 1:], 3),
        "three tokens, vocabulary 3, −inf at one place in both": call(_ALSO, _NO, 3),
        "the same logits twice": call(_S, _S, 4),
        "student's logits [0.5, -30, 1], teacher's [0, -1, 0.3], vocabulary 3 | a token of almost no "
        "probability": call(_RARE, _FREQUENT, 3),
    },
    mistakes="""
the padding is cut after the softmax | Padded rows have taken a part of the probability by then, and the rest no longer sums to 1. Cut the logits.
  student[:, :vocabulary].log_softmax(-1) => student.log_softmax(-1)[:, :vocabulary]
  teacher[:, :vocabulary].log_softmax(-1) => teacher.log_softmax(-1)[:, :vocabulary]
the first rows are cut | Padding stands behind the vocabulary. Keep the first rows.
  student[:, :vocabulary] => student[:, -vocabulary:]
  teacher[:, :vocabulary] => teacher[:, -vocabulary:]
cut to the shorter of the two, not to the vocabulary | Both may be padded. `vocabulary` says how many are tokens.
  student[:, :vocabulary] => student[:, : min(student.shape[1], teacher.shape[1])]
  teacher[:, :vocabulary] => teacher[:, : min(student.shape[1], teacher.shape[1])]
the padding is set to 0, not cut | A logit of 0 is a word like any other for the softmax, and takes a part of the probability. Cut it away.
  student[:, :vocabulary] => F.pad(student[:, :vocabulary], (0, min(student.shape[1], teacher.shape[1]) - vocabulary))
  teacher[:, :vocabulary] => F.pad(teacher[:, :vocabulary], (0, min(student.shape[1], teacher.shape[1]) - vocabulary))
nan is replaced in the sum, not in its terms | One impossible token then makes the whole loss 0. Put 0 in the place of its term alone.
  torch.where(log_p > -torch.inf, log_p - log_q, 0.0) => log_p - log_q
  .sum(-1).mean() => .sum(-1).mean().nan_to_num(0.0)
−inf becomes 0 before the softmax | A logit of 0 is one like any other: the impossible token gets a probability.
  student[:, :vocabulary] => student[:, :vocabulary].nan_to_num(neginf=0.0)
  teacher[:, :vocabulary] => teacher[:, :vocabulary].nan_to_num(neginf=0.0)
a small number is added inside the logarithm | It keeps log(0) away, and moves the result: the less likely a token, the more.
  log_p - log_q, 0.0 => (log_p.exp() + 1e-4).log() - (log_q.exp() + 1e-4).log(), 0.0
reverse KL | The teacher's probabilities weigh the terms.
  = log_q = student[:, :vocabulary].log_softmax(-1)
  = log_p = teacher[:, :vocabulary].log_softmax(-1)
  = return (log_q.exp() * torch.where(log_q > -torch.inf, log_q - log_p, 0.0)).sum(-1).mean()
−inf gives NaN | −inf − (−inf) is NaN, and 0 · NaN is NaN. Such a token adds nothing: put 0 in its place.
  torch.where(log_p > -torch.inf, log_p - log_q, 0.0) => log_p - log_q
cut only where the lengths differ | Both can have the same padding. Cut both to `vocabulary`, whatever their lengths.
  student[:, :vocabulary] => (student if student.shape == teacher.shape else student[:, :vocabulary])
  teacher[:, :vocabulary] => (teacher if student.shape == teacher.shape else teacher[:, :vocabulary])
not weighted by the teacher | Unlikely tokens would count as much as likely ones.
  log_p.exp() * ratio => ratio
cross-entropy | It is KL plus the teacher's own entropy, and not 0 if both agree.
  log_p - log_q, 0.0 => -log_q, 0.0
over the tokens instead of the vocabulary | Each token's probabilities sum to 1 along the last dimension.
  student[:, :vocabulary].log_softmax(-1) => student[:, :vocabulary].log_softmax(0)
  teacher[:, :vocabulary].log_softmax(-1) => teacher[:, :vocabulary].log_softmax(0)
""",
    checked="no padding, padding of one and of both, −inf in both, equal logits",
    not_checked="−inf in the student alone (KL is infinite), padded texts, a softmax that rounds to 0",
)

# --- 4 · spot the error: layers with old numbers ----------------------------------------------------


def _llama(layers: int = 5) -> Any:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(vocab_size=11, **sizes, **heads)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = transformers.LlamaForCausalLM(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return model


_IDS = torch.tensor([[3, 1, 4, 1, 5]])
_KEEP = [0, 1, 3, 4]


def _dropped(look: Callable[[Any, Any], Any], keep: list[int] = _KEEP) -> Callable[[Answer], Any]:
    """A try: drop layers of a small Llama, and look at the result and at the model."""

    def attempt(answer: Answer) -> Any:
        model = _llama()
        small = answer(model, list(keep))
        if small is None or small is ...:
            raise TroubleError(EMPTY, str(small))
        return look(small, model) if hasattr(small, "lm_head") else "no language model"

    return attempt


def _numbers(small: Any, _model: Any) -> list[int]:
    return [layer.self_attn.layer_idx for layer in small.model.layers]


def _logits(small: Any, _model: Any) -> Tensor:
    with torch.no_grad():
        return small(_IDS, use_cache=False).logits[0, -1]


def _written(small: Any, _model: Any) -> Tensor:
    """The last token's logits, with the tokens before it in the cache."""
    with torch.no_grad():
        cache = small(_IDS[:, :-1], use_cache=True).past_key_values
        return small(_IDS[:, -1:], past_key_values=cache, use_cache=True).logits[0, -1]


drop_layers = Check(
    name="drop_layers",
    right="""
def drop_layers(model, keep):
    shallow = copy.deepcopy(model)
    stay = [shallow.model.layers[i] for i in keep]
    for place, layer in enumerate(stay):
        layer.self_attn.layer_idx = place
    shallow.model.layers = torch.nn.ModuleList(stay)
    shallow.config.num_hidden_layers = len(stay)
    return shallow
""",
    tries={
        "layer_idx of the kept layers, 1, 2, 4 and 5 of 5": _dropped(_numbers),
        "layer_idx of the kept layers, 2 and 5 of 5": _dropped(_numbers, [1, 4]),
        "config.num_hidden_layers": _dropped(lambda small, _: small.config.num_hidden_layers),
        "config.num_hidden_layers, only layer 3 kept": _dropped(
            lambda small, _: small.config.num_hidden_layers, [2]
        ),
        "layers in the model that was given": _dropped(lambda _, model: len(model.model.layers)),
        "layer_idx in the model that was given": _dropped(lambda _, model: _numbers(model, None)),
        "config of the model that was given": _dropped(
            lambda _, model: model.config.num_hidden_layers
        ),
        "logits without a cache": _dropped(_logits),
        "logits with a cache": _dropped(_written),
        "logits, only layer 3 kept": _dropped(_logits, [2]),
    },
    mistakes="""
layer_idx stays as it was | The cache has one place for each layer of the new model. A layer with its old number looks in another one's place, or behind the end.
  - for place, layer in enumerate(stay):
  -         layer.self_attn.layer_idx = place
  + pass
layer_idx counts from 1 | In code, places count from 0.
  enumerate(stay) => enumerate(stay, start=1)
the first kept number is taken off each | That is right only if the layers that stay are neighbors. Count them anew.
  layer.self_attn.layer_idx = place => layer.self_attn.layer_idx -= keep[0]
all have the same layer_idx | Then they overwrite each other's keys and values in the cache.
  layer.self_attn.layer_idx = place => layer.self_attn.layer_idx = 0
all have the layer_idx of the last one | The cache has one place for each layer: each needs its own number.
  layer.self_attn.layer_idx = place => layer.self_attn.layer_idx = len(stay) - 1
config.num_hidden_layers stays | The model runs over so many layers, and a saved model is loaded with so many.
  shallow.config.num_hidden_layers = len(stay) => pass
the config of the model that was given is changed, not the copy's | The copy has a config of its own: that one must say the new number.
  shallow.config.num_hidden_layers => model.config.num_hidden_layers
the layers are those of the model that was given | They get new numbers there, too, and training moves both models. Take them from the copy.
  shallow.model.layers[i] => model.model.layers[i]
the config counts up to the last kept layer | It says how many layers there are, not which was the last.
  = len(stay) => = max(keep) + 1
the model itself is changed | The teacher is needed for distillation. Work on a deep copy: copy.copy shares the layers.
  copy.deepcopy(model) => model
the others are kept | keep names the layers that stay.
  for i in keep] => for i in range(len(shallow.model.layers)) if i not in keep]
the first layers are kept | keep says which layers stay, not how many.
  for i in keep] => for i in range(len(keep))]
the layers are not put back | The list alone changes nothing: the model needs it.
  shallow.model.layers = torch.nn.ModuleList(stay) => pass
""",
    checked="the numbers of the layers, the config, the outputs with and without a cache, the model given",
    not_checked="other kinds of models, saving and loading",
)

# --- 5 · challenge: two thirds of the parameters ----------------------------------------------------

SHARE, TIMES = 2 / 3, 2.5
_GIVES = "what you give"
_SIZE = "its parameters, × those of the whole model"
_WORSE = "its perplexity, × that of the whole model"


def _kind(given: Any) -> str:
    if isinstance(given, tuple):
        return "a model and more"
    return "a language model" if hasattr(given, "lm_head") else type(given).__name__


@functools.cache
def _measured(name: str) -> tuple[Any, Any, int]:
    """Test reviews, the perplexity of the whole model, and its parameters."""
    model, tokenizer = models.language_model(name)
    reviews = datasets.review_tokens(tokenizer, 8, 128, "test")
    return reviews, evaluation.perplexity(model, reviews), _parameters(model)


def _whole(given: Any) -> tuple[Any, Any, int]:
    return _measured("SmolLM2" if given.config.vocab_size > 1000 else "tiny")


def _parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def _times(given: Any) -> float:
    reviews, whole, _ = _whole(given)
    return evaluation.perplexity(given, reviews).times(whole).value


_RIGHT = {_GIVES: "a language model", _SIZE: Range(0, SHARE)}

two_thirds = Check(
    name="two_thirds",
    right=Seen(_RIGHT | {_WORSE: Range(0, TIMES)}),
    tries={
        _GIVES: _kind,
        _SIZE: lambda given: _parameters(given) / _whole(given)[2],
        _WORSE: _times,
    },
    mistakes=f"""
the result of fit for its model | fit and distill_tokens give a result. The model is its attribute: .model.
  ? {_GIVES}: Fitted
a model and its tokenizer | Give the model alone.
  ? {_GIVES}: a model and more
too large | Drop more layers. The embeddings stay as they are, so more than a third of the layers must go.
  ? {_GIVES}: a language model
  ? {_SIZE}: {SHARE} to 0.999
nothing was removed | remove_layers leaves its argument alone and returns the smaller model. Give what it returned.
  ? {_GIVES}: a language model
  ? {_SIZE}: 0.999 to 1e6
small enough, and too surprised | Has it been trained since the cut? If so: more steps, or other layers. Choose on the validation reviews.
  ? {_GIVES}: a language model
  ? {_SIZE}: 0 to {SHARE}
  ? {_WORSE}: {TIMES} to 1e300
""",
    checked="the number of parameters, and the perplexity on eight test reviews",
    not_checked="how fast it is, how it writes, and how often you looked at the test reviews",
)
