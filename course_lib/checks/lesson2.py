"""Checks for the exercises of lesson 2, structured pruning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import data, measure, models, training
from course_lib.checks.checking import (
    EMPTY,
    Check,
    Mistake,
    Range,
    Seen,
    TroubleError,
    call,
    show,
    unchanged,
)
from course_lib.masking import sparsity

Answer = Callable[..., Any]


def _filled(layer: Any, weight: list[Any], bias: list[float]) -> Any:
    """The layer with these numbers, in eval mode."""
    layer.weight.data = torch.tensor(weight, dtype=torch.float32).view_as(layer.weight)
    layer.bias.data = torch.tensor(bias, dtype=torch.float32)
    return layer.eval()


def _given(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The layers that an answer gives, by name; they come in a tuple, or in a dict."""
    if value is None or value is ...:
        raise TroubleError(EMPTY, str(value))
    if isinstance(value, tuple | list | nn.Sequential | nn.ModuleList) and len(value) == len(names):
        value = dict(zip(names, value, strict=True))
    wanted = isinstance(value, Mapping | nn.ModuleDict) and set(value.keys()) == set(names)
    if not wanted or not all(isinstance(value[name], nn.Module) for name in names):
        why = f"Give these layers back, in this form and order: {', '.join(names)}."
        raise TroubleError(Mistake("not the layers that were asked for", why, Seen()), show(value))
    return {name: value[name] for name in names}


def _look(given: tuple[Any, ...], names: tuple[str, ...], what: Callable[[Any], Any]) -> Answer:
    """A try: call the answer, and look at the layers that it gives."""
    return lambda answer: what(_given(call(*given)(answer), names))


def _tensor(layer: str, name: str) -> Callable[[Any], Any]:
    def what(layers: dict[str, Any]) -> Any:
        value = getattr(layers[layer], name)
        if value is None:
            return "None"
        # The last dimensions of a 1 × 1 kernel would only blur the numbers.
        return value.detach().reshape(len(value), -1).squeeze(-1)

    return what


def _through(x: Tensor, *steps: Any) -> Any:
    """What comes out behind these layers in eval mode; or the error, in words."""
    try:
        with torch.no_grad():
            for step in steps:
                x = step.eval()(x.to(step.weight)) if hasattr(step, "weight") else step(x)
    except (RuntimeError, ValueError) as error:
        return _stopped(error)
    return x.flatten()


def _stopped(error: Exception) -> str:
    return f"an error: {str(error).splitlines()[0]}"


def _others(keep: list[int], units: int) -> list[int]:
    return [unit for unit in range(units) if unit not in keep]


# --- 1 · a neuron of two linear layers ------------------------------------------------------------

_PAIR = ("first", "second")
_TWO_LINEAR = (
    _filled(nn.Linear(2, 4), [[1, 0], [0, 1], [2, -1], [1, 1]], [0.5, 1, 1.5, 2]),
    _filled(nn.Linear(4, 3), [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], [0.1, 0.2, 0.3]),
    [0, 2],
)


def _remove_neurons(first: nn.Linear, second: nn.Linear, keep: list[int]) -> Any:
    first, second = copy.deepcopy((first, second))
    first.weight.data, first.bias.data = first.weight.data[keep], first.bias.data[keep]
    second.weight.data = second.weight.data[:, keep]
    first.out_features = second.in_features = len(keep)
    return first, second


def _neurons(change: Callable[..., None]) -> Answer:
    """The right answer, changed afterwards with a look at what was given."""

    def answer(first: nn.Linear, second: nn.Linear, keep: list[int]) -> Any:
        new = _remove_neurons(first, second, keep)
        change(new, copy.deepcopy((first, second)), keep)
        return new

    return answer


def _columns_stay(new: Any, old: Any, keep: list[int]) -> None:
    new[1].weight.data, new[1].in_features = old[1].weight.data, old[1].in_features


def _rows_go(new: Any, old: Any, keep: list[int]) -> None:
    new[1].weight.data = old[1].weight.data[keep]


def _bias_stays(new: Any, old: Any, keep: list[int]) -> None:
    new[0].bias.data = old[0].bias.data


def _next_bias_goes(new: Any, old: Any, keep: list[int]) -> None:
    new[1].bias.data = old[1].bias.data[keep]


def _stale_sizes(new: Any, old: Any, keep: list[int]) -> None:
    new[0].out_features, new[1].in_features = old[0].out_features, old[1].in_features


def _stale_next(new: Any, old: Any, keep: list[int]) -> None:
    new[1].in_features = old[1].in_features


def _zeroed_neurons(first: nn.Linear, second: nn.Linear, keep: list[int]) -> Any:
    first, second = copy.deepcopy((first, second))
    gone = _others(keep, first.out_features)
    first.weight.data[gone] = 0
    first.bias.data[gone] = 0
    return first, second


def _sizes(layers: dict[str, Any]) -> list[int]:
    return [size for layer in layers.values() for size in (layer.in_features, layer.out_features)]


_NEURONS = "neurons [0, 2] of 4 stay: "

remove_neurons = Check(
    name="remove_neurons",
    right=_remove_neurons,
    tries={
        _NEURONS + what: _look(_TWO_LINEAR, _PAIR, look)
        for what, look in {
            "the first layer's weight": _tensor("first", "weight"),
            "the first layer's bias": _tensor("first", "bias"),
            "the second layer's weight": _tensor("second", "weight"),
            "the second layer's bias": _tensor("second", "bias"),
            "the sizes that the two say, [in, out, in, out]": _sizes,
            "what the two, with a ReLU between, make of [1, 2]": lambda layers: _through(
                torch.tensor([1.0, 2.0]), layers["first"], F.relu, layers["second"]
            ),
        }.items()
    },
    mistakes=(
        Mistake(
            "the columns of the next layer are forgotten",
            "The next layer has a column for each neuron that it reads. Left as it is, it waits for "
            "answers that nobody gives any more, and the first batch stops with an error.",
            _neurons(_columns_stay),
        ),
        Mistake(
            "rows for columns in the next layer",
            "A row of the next layer is one of *its own* neurons. What it reads from this layer "
            "stands in its columns: the second dimension.",
            _neurons(_rows_go),
        ),
        Mistake(
            "the bias is forgotten",
            "Each neuron owns one number of the bias, beside its row. With the old bias the shapes no "
            "longer fit, or each neuron gets another one's.",
            _neurons(_bias_stays),
        ),
        Mistake(
            "the next layer's bias is cut, too",
            "That bias belongs to the next layer's own neurons, and all of those stay.",
            _neurons(_next_bias_goes),
        ),
        Mistake(
            "out_features and in_features are stale",
            "The tensors shrank, the numbers beside them did not. A summary, an export or your next "
            "pruning reads them, and is told a lie.",
            _neurons(_stale_sizes),
        ),
        Mistake(
            "in_features of the next layer is stale",
            "The first layer tells the truth now. The second one reads fewer numbers than before, too.",
            _neurons(_stale_next),
        ),
        Mistake(
            "the list of those that stay, taken for those that go",
            "`keep` names the neurons that stay. You removed exactly these, and kept what should go.",
            lambda first, second, keep: _remove_neurons(
                first, second, _others(keep, first.out_features)
            ),
        ),
        Mistake(
            "set to zero instead of removed",
            "The answers are right, and nothing became smaller or faster: zeros are multiplied, too.",
            _zeroed_neurons,
        ),
    ),
    checked="both weights, both biases, the sizes that the layers say, and the answer to one input",
    not_checked="layers without bias, an empty list, the order of `keep`",
)

# --- 2 · a channel, with its batch norm -----------------------------------------------------------

_BLOCK = ("conv", "bn", "following")
_NORM = ("weight", "bias", "running_mean", "running_var")


def _batch_norm(*rows: list[float]) -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(len(rows[0]), eps=1e-12).eval()
    for name, row in zip(_NORM, rows, strict=True):
        getattr(bn, name).data = torch.tensor(row)
    return bn


_CHANNELS = (
    _filled(nn.Conv2d(1, 4, 1), [1, 2, -1, 3], [0.5, 1, 2, -1]),
    _batch_norm([1.0, 1, 2, 0.5], [0.2, 2, 0.5, -1], [1.0, 1, -3, -2], [4.0, 1, 4, 1]),
    _filled(nn.Conv2d(4, 3, 1), [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], [0.1, 0.2, 0.3]),
)
_KEEP = [0, 2]


def _block(pixel: float) -> Callable[[dict[str, Any]], Any]:
    """What the next convolution says of one pixel: conv, batch norm, ReLU, conv."""
    x = torch.full((1, 1, 1, 1), pixel)
    return lambda layers: _through(x, layers["conv"], layers["bn"], F.relu, layers["following"])


def _four_of_norm(layers: dict[str, Any]) -> dict[str, Tensor]:
    return {name: getattr(layers["bn"], name).detach() for name in _NORM}


def _channels(
    conv: tuple[str, ...] = ("weight", "bias"), norm: tuple[str, ...] = _NORM, dim: int | None = 1
) -> Answer:
    """Cut these tensors, and the next convolution along `dim`."""

    def answer(first: Any, bn: Any, following: Any, keep: list[int]) -> Any:
        first, bn, following = copy.deepcopy((first, bn, following))
        for layer, names in ((first, conv), (bn, norm)):
            for name in names:
                getattr(layer, name).data = getattr(layer, name).data[keep]
        if dim is not None:
            following.weight.data = following.weight.data.index_select(dim, torch.tensor(keep))
        return first, bn, following

    return answer


def _fresh_norm(conv: Any, bn: Any, following: Any, keep: list[int]) -> Any:
    first, _, last = _channels()(conv, bn, following, keep)
    return first, nn.BatchNorm2d(len(keep)), last


def _next_conv_bias_goes(conv: Any, bn: Any, following: Any, keep: list[int]) -> Any:
    first, norm, last = _channels()(conv, bn, following, keep)
    last.bias.data = last.bias.data[keep]
    return first, norm, last


def _zeroed_filters(conv: Any, bn: Any, following: Any, gone: list[int]) -> Any:
    conv, bn, following = copy.deepcopy((conv, bn, following))
    conv.weight.data[gone] = 0
    conv.bias.data[gone] = 0
    return conv, bn, following


_STAY = "channels [0, 2] of 4 stay: "

remove_channels = Check(
    name="remove_channels",
    right=_channels(),
    tries={
        _STAY + what: _look((*_CHANNELS, _KEEP), _BLOCK, look)
        for what, look in {
            "the convolution's weight": _tensor("conv", "weight"),
            "the convolution's bias": _tensor("conv", "bias"),
            "the batch norm's four tensors": _four_of_norm,
            "the next convolution's weight": _tensor("following", "weight"),
            "the next convolution's bias": _tensor("following", "bias"),
            "what the next convolution makes of a pixel of 1": _block(1.0),
        }.items()
    },
    mistakes=(
        Mistake(
            "the batch norm stays whole",
            "It holds four numbers for each channel. Left as it is, it still waits for the old number "
            "of channels.",
            _channels(norm=()),
        ),
        Mistake(
            "running mean and variance are forgotten",
            "They are buffers, not parameters, so parameters() does not list them. In eval mode each "
            "channel is normalised by them.",
            _channels(norm=("weight", "bias")),
        ),
        Mistake(
            "the batch norm's weight and bias are forgotten",
            "The statistics are cut, γ and β are not. They scale and shift each channel, and belong to "
            "it as well.",
            _channels(norm=("running_mean", "running_var")),
        ),
        Mistake(
            "a fresh batch norm",
            "Its size is right, but all that it had learned is gone: γ is 1, β and the mean are 0. The "
            "smaller network is then another one than the masked.",
            _fresh_norm,
        ),
        Mistake(
            "the convolution's bias is forgotten",
            "Each channel has a filter and one number of the bias. Both go.",
            _channels(conv=("weight",)),
        ),
        Mistake(
            "the next convolution still reads the old channels",
            "Its weight is [out, in, height, width], and has an `in` for each channel that it reads.",
            _channels(dim=None),
        ),
        Mistake(
            "the next convolution loses its own channels",
            "Its first dimension holds the channels that it computes; those it reads are the second.",
            _channels(dim=0),
        ),
        Mistake(
            "the next convolution's bias is cut, too",
            "That bias belongs to the channels that the next convolution computes. All of those stay.",
            _next_conv_bias_goes,
        ),
        Mistake(
            "the list of those that stay, taken for those that go",
            "`keep` names the channels that stay. You removed exactly these.",
            lambda conv, bn, following, keep: _channels()(
                conv, bn, following, _others(keep, len(conv.weight))
            ),
        ),
        Mistake(
            "filters set to zero instead of removed",
            "Nothing became smaller; and batch norm's β and mean still make a constant of each silent "
            "channel, which the next layer hears.",
            lambda conv, bn, following, keep: _zeroed_filters(
                conv, bn, following, _others(keep, len(conv.weight))
            ),
        ),
    ),
    checked="two tensors of the convolution, four of the batch norm, two of the next one, the answer",
    not_checked="convolutions without bias or with groups; the sizes that layers say (exercise 6)",
)

# --- 3 · silence a channel ------------------------------------------------------------------------


def _silent(**zeros: tuple[str, ...]) -> Answer:
    """Set these tensors of the convolution and of the batch norm to zero, for the channels that go."""

    def answer(conv: Any, bn: Any, following: Any, gone: list[int]) -> Any:
        layers = dict(zip(_BLOCK, copy.deepcopy((conv, bn, following)), strict=True))
        for layer, names in zeros.items():
            for name in names:
                getattr(layers[layer], name).data[gone] = 0
        return tuple(layers.values())

    return answer


def _unheard(dim: int) -> Answer:
    def answer(conv: Any, bn: Any, following: Any, gone: list[int]) -> Any:
        conv, bn, following = copy.deepcopy((conv, bn, following))
        following.weight.data.index_fill_(dim, torch.tensor(gone), 0)
        return conv, bn, following

    return answer


_GO = [1, 2]
_ZERO = "channels [1, 2] of 4 fall silent: "

silence_channels = Check(
    name="silence_channels",
    right=_unheard(1),
    tries={
        _ZERO + what: _look((*_CHANNELS, _GO), _BLOCK, look)
        for what, look in {
            "what the next convolution makes of a pixel of 1": _block(1.0),
            "what the next convolution makes of a pixel of -4": _block(-4.0),
            "how many channels the three layers hold": lambda layers: [
                layers["conv"].weight.shape[0],
                layers["bn"].weight.shape[0],
                layers["following"].weight.shape[1],
            ],
        }.items()
    },
    mistakes=(
        Mistake(
            "batch norm speaks for a filter of zeros",
            "Zeros go in, and β − γ · mean / √(variance + ε) comes out, the same for each picture. The "
            "next layer hears it, unless it is negative.",
            _silent(conv=("weight", "bias")),
        ),
        Mistake(
            "the filter is zero, its bias is not",
            "The bias still goes into the batch norm, which makes it louder. And without the bias "
            "there would still be batch norm's own constant.",
            _silent(conv=("weight",)),
        ),
        Mistake(
            "β is zero, the mean is not",
            "Batch norm takes the running mean off before it scales: 0 minus a negative mean is "
            "positive, and ReLU lets it pass.",
            _silent(conv=("weight", "bias"), bn=("bias",)),
        ),
        Mistake(
            "γ is zero, β is not",
            "Nothing is left to be scaled, but β is added afterwards: the channel says β, always.",
            _silent(bn=("weight",)),
        ),
        Mistake(
            "β is zero, the channel speaks on",
            "It only speaks less, or more: what comes from the filter still passes the batch norm.",
            _silent(bn=("bias",)),
        ),
        Mistake(
            "the next convolution's own channels are silenced",
            "Its first dimension holds the channels that it computes; those it reads are the second.",
            _unheard(0),
        ),
        Mistake(
            "the wrong ones fall silent",
            "Here the list names the channels that go. In exercise 2 it named those that stay: look "
            "twice in any library, too.",
            lambda conv, bn, following, gone: _unheard(1)(
                conv, bn, following, _others(gone, len(conv.weight))
            ),
        ),
        Mistake(
            "removed instead of silenced",
            "The answers are right. But here the network keeps its size: a mask that can be taken off "
            "again, to measure what a channel is worth before it goes.",
            lambda conv, bn, following, gone: _channels()(
                conv, bn, following, _others(gone, len(conv.weight))
            ),
        ),
        Mistake(
            "nobody falls silent",
            "The three layers say what they said before. Did you change a copy of a copy?",
            _silent(),
        ),
    ),
    checked="the answer to two pixels, in eval mode, and that the sizes stay",
    not_checked="training mode, where batch norm uses the batch's own statistics; other nonlinearities",
)

# --- 4 · a head -----------------------------------------------------------------------------------

_ATTENTION = ("query", "key", "value", "output")
_SIZE = 2  # numbers in a head


def _attention() -> dict[str, nn.Module]:
    """Three heads of two numbers; the row r of each matrix begins with a number that names it."""
    numbers = torch.arange(12.0).view(6, 2)
    layers = {
        name: _filled(
            nn.Linear(2, 6), (numbers + start).tolist(), [start + i / 10 for i in range(6)]
        )
        for name, start in (("query", 0), ("key", 20), ("value", 40))
    }
    columns = [[r + c / 10 for c in range(6)] for r in range(3)]
    return layers | {"output": _filled(nn.Linear(6, 3), columns, [1, 2, 3])}


def _rows(keep: list[int], size: int = _SIZE) -> list[int]:
    return [head * size + i for head in keep for i in range(size)]


def _heads(
    rows: Callable[[list[int], int], list[int]] = lambda keep, heads: _rows(keep),
    names: tuple[str, ...] = ("query", "key", "value"),
    dim: int | None = 1,
    bias: bool = True,
) -> Answer:
    """Cut these rows out of these matrices, and the output along `dim`."""

    def answer(layers: dict[str, Any], heads: int, keep: list[int]) -> Any:
        layers = copy.deepcopy(layers)
        chosen = rows(keep, heads)

        def cut(
            tensor: Tensor, dim: int
        ) -> Tensor:  # as a slice: places behind the end are no error
            there = [row for row in chosen if row < tensor.shape[dim]]
            return tensor.index_select(dim, torch.tensor(there, dtype=torch.long))

        for name in names:
            layers[name].weight.data = cut(layers[name].weight.data, 0)
            if bias:
                layers[name].bias.data = cut(layers[name].bias.data, 0)
        if dim is not None:
            layers["output"].weight.data = cut(layers["output"].weight.data, dim)
        return layers

    return answer


def _both(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda layers: {n: _tensor(name, n)(layers) for n in ("weight", "bias")}


def _attend(layers: dict[str, Any]) -> Any:
    """What the attention says of two tokens."""
    x = torch.tensor([[[0.02, -0.01], [-0.01, 0.03]]]).to(layers["query"].weight)
    try:
        with torch.no_grad():
            query, key, value = (
                layers[name].eval()(x).unflatten(-1, (-1, _SIZE)).transpose(1, 2)
                for name in ("query", "key", "value")
            )  # [1, heads, tokens, size]
            mixed = F.scaled_dot_product_attention(query, key, value)
            return layers["output"](mixed.transpose(1, 2).flatten(2))[0]
    except (RuntimeError, ValueError) as error:
        return _stopped(error)


_THREE = "three heads of two numbers, "

remove_heads = Check(
    name="remove_heads",
    right=_heads(),
    tries={
        **{
            f"{_THREE}head 0 stays: the {name} layer": _look(
                (_attention(), 3, [0]), _ATTENTION, _both(name)
            )
            for name in _ATTENTION
        },
        **{
            f"{_THREE}heads 0 and 2 stay: the {name} layer": _look(
                (_attention(), 3, [0, 2]), _ATTENTION, _both(name)
            )
            for name in ("query", "output")
        },
        f"{_THREE}heads 0 and 2 stay: what it says of two tokens": _look(
            (_attention(), 3, [0, 2]), _ATTENTION, _attend
        ),
    },
    mistakes=(
        Mistake(
            "the output layer keeps its columns",
            "The output layer reads the answers of all heads side by side, a few columns for each. "
            "Those of the heads that go must go as well.",
            _heads(dim=None),
        ),
        Mistake(
            "rows for columns in the output layer",
            "Its rows are what the attention gives back. What it reads of each head stands in columns.",
            _heads(dim=0),
        ),
        Mistake(
            "the size of a head, computed from what is left",
            "A head keeps its size. It is the old width divided by the *old* number of heads; divided "
            "by the new one it grows as heads go, and every row moves.",
            _heads(lambda keep, heads: _rows(keep, 3 * _SIZE // len(keep))),
        ),
        Mistake(
            "one row for each head",
            "A head is as many neighbouring rows as it has numbers, not one.",
            _heads(lambda keep, heads: keep),
        ),
        Mistake(
            "as many rows for a head as there are heads",
            "The number of heads and the size of a head are two numbers; their product is the width.",
            _heads(lambda keep, heads: _rows(keep, heads)),
        ),
        Mistake(
            "every third row",
            "The rows of a head are neighbours: first all of head 0, then all of head 1. Your view() "
            "has heads and numbers in the wrong order.",
            _heads(lambda keep, heads: [head + heads * i for head in keep for i in range(_SIZE)]),
        ),
        Mistake(
            "the biases of query, key and value are forgotten",
            "Each row has a number of the bias beside it. In BERT all three have one.",
            _heads(bias=False),
        ),
        Mistake(
            "the value layer is forgotten",
            "Query and key decide where a head looks, value what it says: it has rows in all three.",
            _heads(names=("query", "key")),
        ),
        Mistake(
            "the list of those that stay, taken for those that go",
            "`keep` names the heads that stay. You removed exactly these.",
            _heads(lambda keep, heads: _rows(_others(keep, heads))),
        ),
    ),
    checked="weights and biases of all four layers, one head and two; the answer to two tokens",
    not_checked="query, key and value in one matrix (GPT-2), keys that heads share, missing biases",
)

# --- 5 · the importance of a head -----------------------------------------------------------------


def _gate(answers: Tensor, gradients: Tensor) -> Tensor:
    """The gradient of each example's gate, one for each head: ``[examples, heads]``."""
    return (answers * gradients).sum((1, 3))


def _importance(answers: Tensor, gradients: Tensor, parameters: int) -> Tensor:
    return _gate(answers, gradients).abs().mean(0) / parameters


_SAID = torch.tensor([[[[1.0, 2], [2, 0]]], [[[1.0, 1], [1, 1]]]])  # [2, 1, 2, 2]
_SLOPE = torch.tensor([[[[1.0, -1], [1, 3]]], [[[3.0, -1], [-2, -1]]]])
_SHOWN = (
    "answers [[[[1, 2], [2, 0]]], [[[1, 1], [1, 1]]]], "
    "gradients [[[[1, -1], [1, 3]]], [[[3, -1], [-2, -1]]]], "
)
_TWO_TOKENS = (
    torch.tensor([[[[1.0, 0], [2, 1]], [[3.0, 1], [1, 0]]]]),  # [1, 2, 2, 2]
    torch.tensor([[[[2.0, 5], [1, 1]], [[-1.0, 0], [2, 7]]]]),
)

head_importance = Check(
    name="head_importance",
    right=_importance,
    tries={
        _SHOWN + "parameters 1": call(_SAID, _SLOPE, 1),
        _SHOWN + "parameters 4": call(_SAID, _SLOPE, 4),
        "one example of two tokens, answers [[[[1, 0], [2, 1]], [[3, 1], [1, 0]]]], gradients "
        "[[[[2, 5], [1, 1]], [[-1, 0], [2, 7]]]], parameters 1": call(*_TWO_TOKENS, 1),
    },
    mistakes=(
        Mistake(
            "no absolute value",
            "A head may raise the loss or lower it: either way it matters. With the sign on it, a "
            "helpful head can look worse than one that does nothing.",
            lambda a, g, n: _gate(a, g).mean(0) / n,
        ),
        Mistake(
            "averaged first, then the absolute value",
            "A head that helps one sentence and harms another averages to nothing, and looks "
            "dispensable. Take the absolute value of each example, then the mean.",
            lambda a, g, n: _gate(a, g).mean(0).abs() / n,
        ),
        Mistake(
            "the sum over the examples for their mean",
            "The order of the heads is right. But the number grows with the data, so that two scores "
            "from different samples cannot be compared.",
            lambda a, g, n: _gate(a, g).abs().sum(0) / n,
        ),
        Mistake(
            "the absolute value of each number",
            "There is one gate for the whole head: the changes that its numbers make to the loss add "
            "up, and may cancel. Sum over the head's numbers first.",
            lambda a, g, n: (a * g).abs().sum((1, 3)).mean(0) / n,
        ),
        Mistake(
            "the absolute value of each token",
            "The gate closes the head for the whole sentence. Add up its tokens before you take the "
            "absolute value.",
            lambda a, g, n: (a * g).sum(3).abs().sum(1).mean(0) / n,
        ),
        Mistake(
            "the gradient without the answer",
            "A head that says nothing can have a steep gradient, and closing it changes nothing. By "
            "the chain rule the gate's gradient is answer times gradient.",
            lambda a, g, n: g.sum((1, 3)).abs().mean(0) / n,
        ),
        Mistake(
            "the answer without the gradient",
            "A loud head is not yet an important one: the next layer may ignore it. The gradient asks "
            "the loss.",
            lambda a, g, n: a.sum((1, 3)).abs().mean(0) / n,
        ),
        Mistake(
            "not divided by the parameters",
            "Layers may have heads of different size, and other units compete with them. What counts "
            "is what the loss pays for each parameter that goes.",
            lambda a, g, n: _importance(a, g, 1),
        ),
        Mistake(
            "a mean over the head's numbers and tokens, too",
            "The gate's gradient is a sum. With a mean long sentences, and large heads, count less.",
            lambda a, g, n: (a * g).mean((1, 3)).abs().mean(0) / n,
        ),
        Mistake(
            "the square for the absolute value",
            "Molchanov et al. 2019 do so, and one loud example then outweighs many. Michel et al. take "
            "the absolute value.",
            lambda a, g, n: _gate(a, g).square().mean(0) / n,
        ),
        Mistake(
            "shares of the layer's importance",
            "Scaled to add up to 1, a layer in which no head matters looks like any other. To rank "
            "across layers keep the numbers as they are.",
            lambda a, g, n: _importance(a, g, 1) / _importance(a, g, 1).sum(),
        ),
    ),
    checked="two examples whose signs differ, two tokens, heads of 1 and of 4 parameters",
    not_checked="where the gradients come from; padding; whether a first-order estimate is good enough",
)

# --- 6 · spot the error: stale out_channels -------------------------------------------------------


def _stale() -> nn.Sequential:
    """A network whose tensors were cut, and whose numbers say what was before."""
    grouped = nn.Conv2d(8, 6, 3, groups=2)
    net: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Sequential(nn.ReLU(), grouped),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    _cut_(net[0], 4)
    _cut_(net[1], 4)
    grouped.weight.data = grouped.weight.data[:, :2]  # four channels in two groups
    _cut_(net[4], 5)
    net[4].weight.data = net[4].weight.data[:, :12]
    return net


def _cut_(layer: Any, units: int) -> None:
    for name in _NORM:
        if getattr(layer, name, None) is not None:
            getattr(layer, name).data = getattr(layer, name).data[:units]


def _said(layer: Any) -> Any:
    if isinstance(layer, nn.BatchNorm2d):
        return layer.num_features
    if isinstance(layer, nn.Conv2d):
        return [layer.in_channels, layer.out_channels]
    return [layer.in_features, layer.out_features]


def _true(layer: Any, grouped: bool = True) -> Any:
    """What `_said` should give; None for a layer of another kind."""
    if isinstance(layer, nn.BatchNorm2d):
        return len(layer.weight)
    if isinstance(layer, nn.Conv2d):
        return [layer.weight.shape[1] * (layer.groups if grouped else 1), len(layer.weight)]
    return [layer.weight.shape[1], len(layer.weight)] if isinstance(layer, nn.Linear) else None


def _say_(layer: Any, size: Any) -> None:
    if isinstance(layer, nn.BatchNorm2d):
        layer.num_features = size
    elif isinstance(layer, nn.Conv2d):
        layer.in_channels, layer.out_channels = size
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = size


def _tells_(
    kinds: Any = (nn.Conv2d, nn.BatchNorm2d, nn.Linear),
    size: Callable[[Any], Any] = _true,
    walk: Callable[[nn.Module], Any] = nn.Module.modules,
) -> Answer:
    def answer(module: nn.Module) -> None:
        for layer in walk(module):
            if isinstance(layer, kinds):
                _say_(layer, size(layer))

    return answer


def _swapped(layer: Any) -> Any:
    size = _true(layer)
    return size[::-1] if isinstance(size, list) else size


def _outputs_only(layer: Any) -> Any:
    said, true = _said(layer), _true(layer)
    return [said[0], true[1]] if isinstance(true, list) else true


def _asked(what: Callable[[Any], Any], make: Callable[[], nn.Module] = _stale) -> Answer:
    def attempt(answer: Answer) -> Any:
        module = make()
        answer(module)
        return what(module)

    return attempt


def _weights_stay(answer: Answer) -> bool:
    module = _stale()
    before = copy.deepcopy(dict(module.state_dict()))
    answer(module)
    return unchanged(before, dict(module.state_dict()))


_WEIGHTS = "are its tensors as before?"

set_sizes_ = Check(
    name="set_sizes_",
    right=_tells_(),
    tries={
        _WEIGHTS: _weights_stay,
        "a convolution with a weight of [4, 3, 3, 3] says [in, out]": _asked(
            lambda net: _said(net[0])
        ),
        "a batch norm of four channels says": _asked(lambda net: _said(net[1])),
        "a convolution inside a block, weight [6, 2, 3, 3], 2 groups, says [in, out]": _asked(
            lambda net: _said(net[2][1])
        ),
        "a linear layer with a weight of [5, 12] says [in, out]": _asked(lambda net: _said(net[4])),
        "a linear layer by itself, weight [5, 12], says [in, out]": _asked(
            _said, lambda: _stale()[4]
        ),
    },
    mistakes=(
        Mistake(
            "the tensors are other ones",
            "The tensors are the truth here, the numbers beside them the lie. A new layer of the right "
            "size has random weights.",
            Seen({_WEIGHTS: False}),
        ),
        Mistake(
            "the numbers are as stale as before",
            "Did you change a copy, or another attribute? They are called in_channels, out_channels, "
            "num_features, in_features and out_features.",
            lambda module: None,
        ),
        Mistake(
            "in and out are swapped",
            "A weight is [out, in, …]: its first dimension is what the layer computes.",
            _tells_(size=_swapped),
        ),
        Mistake(
            "only what a layer computes, not what it reads",
            "The layer behind a pruned one reads fewer channels: its `in` is as stale as the other's "
            "`out` was.",
            _tells_(size=_outputs_only),
        ),
        Mistake(
            "the batch norms are forgotten",
            "num_features is read, too: by an export, and by whoever builds the layer anew.",
            _tells_((nn.Conv2d, nn.Linear)),
        ),
        Mistake(
            "the linear layers are forgotten",
            "They are cut like the convolutions, and say in_features and out_features.",
            _tells_((nn.Conv2d, nn.BatchNorm2d)),
        ),
        Mistake(
            "the groups are forgotten",
            "With groups each filter sees its own group's channels alone: weight.shape[1] is "
            "in_channels divided by groups.",
            _tells_(size=lambda layer: _true(layer, grouped=False)),
        ),
        Mistake(
            "layers inside a block are missed",
            "children() goes one step down only, and a layer has no children at all. modules() walks "
            "through everything, the module itself among it.",
            _tells_(walk=nn.Module.children),
        ),
    ),
    checked="two convolutions (one in a block, with groups), a batch norm, linear layers",
    not_checked="depthwise and transposed convolutions, batch norms without γ, transformers' configs",
)

# --- 7 · challenge: give me 2 × -------------------------------------------------------------------

_WHAT, _TRUE, _WORK = (
    "what you give",
    "do its layers say their true sizes?",
    "its share of operations",
)
_NUMBERS, _ZEROS = "its share of parameters", "its share of zeros"
_RIGHT = "its accuracy on the held-out pictures"
_BAR = 0.95


def _kind(model: Any) -> str:
    kinds = {models.SmallCNN: "a SmallCNN", nn.Module: "another network"}
    return next(
        (name for kind, name in kinds.items() if isinstance(model, kind)), type(model).__name__
    )


def _honest(model: nn.Module) -> bool:
    layers = [layer for layer in model.modules() if _true(layer) is not None]
    return all(_said(layer) == _true(layer) for layer in layers)


def _work(model: nn.Module) -> float:
    picture = torch.zeros(1, 1, 28, 28)
    whole = measure.operations(models.build(models.SmallCNN), picture)
    return measure.operations(model, picture) / whole


def _parameters(model: nn.Module) -> float:
    mine, whole = (
        sum(p.numel() for p in m.parameters()) for m in (model, models.build(models.SmallCNN))
    )
    return mine / whole


def _heldout(model: nn.Module) -> float:
    return training.evaluate(model, data.mnist()["test"]).value


twice_as_fast = Check(
    name="twice_as_fast",
    right=Seen(
        {
            _WHAT: "a SmallCNN",
            _TRUE: True,
            _WORK: Range(0, 0.5),
            _NUMBERS: Range(0, 1),
            _ZEROS: Range(0, 1),
            _RIGHT: Range(_BAR, 1),
        }
    ),
    tries={
        _WHAT: _kind,
        _TRUE: _honest,
        _WORK: _work,
        _NUMBERS: _parameters,
        _ZEROS: sparsity,
        _RIGHT: lambda model: _heldout(model),
    },
    mistakes=(
        Mistake(
            "the result of `fit` for its network",
            "fit gives the network and its history; the network is its attribute `model`.",
            Seen({_WHAT: "Fitted"}),
        ),
        Mistake(
            "the result of `speed_up` for its network",
            "speed_up gives the network and what it measured; the network is its attribute `model`. "
            "Has it been trained since?",
            Seen({_WHAT: "SpedUp"}),
        ),
        Mistake(
            "another network",
            "To start from a smaller design is a good idea, but another exercise. Here the CNN itself "
            "is made narrower.",
            Seen({_WHAT: "another network"}),
        ),
        Mistake(
            "its layers do not say their true sizes",
            "It was cut by hand, and the numbers beside the tensors are stale. Your set_sizes_ mends "
            "that.",
            Seen({_WHAT: "a SmallCNN", _TRUE: False}),
        ),
        Mistake(
            "zeros are multiplied, too",
            "A large share of the weights is zero, and not one operation was saved. Remove whole units "
            "instead: lesson 1's pruning makes files smaller, not networks faster.",
            Seen({_WORK: Range(0.5, 1), _ZEROS: Range(0.2, 1)}),
        ),
        Mistake(
            "half of the parameters for half of the work",
            "Most parameters stand in fc1, and are used once for each picture. Most of the work is "
            "done by conv2, whose few weights are used at every pixel. Narrow what takes time.",
            Seen({_WORK: Range(0.5, 1), _ZEROS: Range(0, 0.2), _NUMBERS: Range(0, 0.5)}),
        ),
        Mistake(
            "more must go",
            "It still does more than half of the work. Which layer does most of it?",
            Seen({_WORK: Range(0.5, 1), _ZEROS: Range(0, 0.2), _NUMBERS: Range(0.5, 1)}),
        ),
        Mistake(
            "cut, and never recovered",
            "It is fast, and often wrong. Let what is left train for an epoch or two: the other units "
            "take over.",
            Seen({_WORK: Range(0, 0.5), _RIGHT: Range(0, 0.9)}),
        ),
        Mistake(
            "a little below the bar",
            "Has it been trained since the cut? If so: ask for less, or train longer. Decide on the "
            "validation part, with a margin: its accuracy has an interval, too.",
            Seen({_WORK: Range(0, 0.5), _RIGHT: Range(0.9, _BAR)}),
        ),
    ),
    checked="at most half of the operations, 95 % right on the 1,000 test pictures, true sizes",
    not_checked="the time itself (measure it below), the epochs, whether you saw those pictures before",
)
