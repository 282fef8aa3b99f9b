"""Checks for the exercises of lesson 2, structured pruning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import datasets, evaluation, models
from course_lib.checks.checking import Check, call
from course_lib.checks.comparing import Range, agree, show, unchanged
from course_lib.checks.guarding import Mistake, Seen, TroubleError
from course_lib.pruning.masks import sparsity

Answer = Callable[..., Any]


def _filled(layer: Any, weight: list[Any], bias: list[float]) -> Any:
    """The layer with these numbers, in eval mode."""
    layer.weight.data = torch.tensor(weight, dtype=torch.float32).view_as(layer.weight)
    layer.bias.data = torch.tensor(bias, dtype=torch.float32)
    return layer.eval()


def _irregular(*layers: Any) -> Any:
    """The layers with numbers of which no two are alike, in eval mode."""
    chance = torch.Generator().manual_seed(7)
    for layer in layers:
        for tensor in (*layer.parameters(), *layer.buffers()):
            if tensor.is_floating_point():
                tensor.data = torch.rand(tensor.shape, generator=chance) * 2 - 0.9
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var.data += 1.2  # type: ignore[union-attr, operator]
        layer.eval()
    return layers


def _given(value: Any, names: tuple[str, ...], kinds: Any = None) -> dict[str, Any]:
    """The layers that an answer gives, by name: in a tuple, of these kinds, or in a dict."""
    rows = isinstance(value, tuple | list | nn.Sequential | nn.ModuleList)
    if kinds and rows and len(value) == len(names):
        value = dict(zip(names, value, strict=True))
    wanted = isinstance(value, Mapping | nn.ModuleDict) and set(value.keys()) >= set(names)
    if not wanted or not all(isinstance(value[name], nn.Module) for name in names):
        why = f"Give these layers back, in this form and order: {', '.join(names)}."
        raise TroubleError(Mistake("not the layers that were asked for", why), show(value))
    found = [type(value[name]) for name in names]
    if kinds and found != kinds and sorted(map(str, found)) == sorted(map(str, kinds)):
        raise TroubleError(_TURNED, show([kind.__name__ for kind in found]))
    return {name: value[name] for name in names}


_TURNED = Mistake("the layers come in another order", "Give them in the order of the arguments.")
_SHARED = Mistake(
    "a new layer shares a tensor with an old one",
    "Training the one then moves the other, too. A copy has tensors of its own.",
)
_LEARNED = Mistake(
    "running numbers are made parameters",
    "A mean and a variance are counted, not learned: as parameters an optimizer would move them.",
)
_FROZEN = Mistake(
    "the layers come back frozen",
    "requires_grad is off, so that nothing moves when they are trained. A copy can be trained as its original.",
)


def _copies(answer: Answer, given: tuple[Any, ...], *wanted: Any) -> dict[str, Any]:
    """The layers that an answer gives: they stand for themselves, and can be trained."""
    kept: dict[str, list[Any]] = {}
    value = call(*given)(lambda *these: answer(*kept.setdefault("given", list(these))))
    layers = _given(value, *wanted)
    rows = [
        row for one in kept["given"] for row in (one.values() if isinstance(one, dict) else [one])
    ]
    old = [row for row in rows if isinstance(row, nn.Module)]
    theirs = {parameter.data_ptr() for layer in old for parameter in layer.parameters()}
    for layer in [layer for layer in layers.values() if layer not in old]:
        if any(parameter.data_ptr() in theirs for parameter in layer.parameters()):
            raise TroubleError(_SHARED, f"{type(layer).__name__} with a tensor of the one given")
        if not all(parameter.requires_grad for parameter in layer.parameters()):
            raise TroubleError(_FROZEN, f"{type(layer).__name__} without requires_grad")
        before = [set(dict(one.named_parameters())) for one in old if type(one) is type(layer)]
        more = set(dict(layer.named_parameters())) - set().union(*before)
        if before and more:
            raise TroubleError(_LEARNED, f"parameters of their own: {', '.join(sorted(more))}")
    return layers


def _looks(
    what: str, given: tuple[Any, ...], names: tuple[str, ...], **looks: Any
) -> dict[str, Any]:
    """Tries: call the answer, and look at the layers that it gives."""
    kinds = [type(one) for one in given[: len(names)] if isinstance(one, nn.Module)]
    return {
        f"{what}{words.replace('_', ' ')}": lambda answer, look=look: look(
            _copies(answer, given, names, kinds)
        )
        for words, look in looks.items()
    }


def _tensors(layer: str, *names: str) -> Callable[[Any], Any]:
    def look(layers: dict[str, Any]) -> Any:
        found = {name: getattr(layers[layer], name) for name in names}
        return {name: "None" if one is None else one.detach() for name, one in found.items()}

    return look


def _through(x: Tensor, *steps: Any) -> Any:
    """What comes out behind these layers in eval mode; or the error, in words."""
    try:
        with torch.no_grad():
            for step in steps:
                x = step.eval()(x.to(step.weight)) if hasattr(step, "weight") else step(x)
    except (RuntimeError, ValueError) as error:
        return f"an error: {str(error).splitlines()[0]}"
    return x


# --- 1 · a neuron of two linear layers ------------------------------------------------------------

_PAIR = ("first", "second")
_TWO_LINEAR = (
    _filled(nn.Linear(2, 4), [[1, 0], [0, 1], [2, -1], [1, 1]], [0.5, 1, 1.5, 2]),
    _filled(nn.Linear(4, 3), [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], [0.1, 0.2, 0.3]),
    [0, 2],
)


def _sizes(layers: dict[str, Any]) -> list[int]:
    return [int(n) for layer in layers.values() for n in (layer.in_features, layer.out_features)]


def _two_linear(layers: dict[str, Any]) -> Any:
    x = torch.tensor([0.7, 2.0, -0.3])[: layers["first"].weight.shape[1]]
    return _through(x, layers["first"], F.relu, layers["second"])


remove_neurons = Check(
    name="remove_neurons",
    right="""
def remove_neurons(first, second, keep):
    first, second = copy.deepcopy(first), copy.deepcopy(second)
    first.weight.data = first.weight.data[keep]
    first.bias.data = first.bias.data[keep]
    second.weight.data = second.weight.data[:, keep]
    first.out_features = second.in_features = len(keep)
    return first, second
""",
    tries=_looks(
        "neurons [0, 2] of 4 stay: ",
        _TWO_LINEAR,
        _PAIR,
        the_first_layer=_tensors("first", "weight", "bias"),
        the_second_layer=_tensors("second", "weight", "bias"),
        the_sizes_that_the_two_say_in_out_in_out=_sizes,
        what_the_two_make_of_an_input=_two_linear,
    )
    | _looks(
        "neurons [1, 2, 4, 5] of 6 stay: ",
        (*_irregular(nn.Linear(3, 6), nn.Linear(6, 2)), [1, 2, 4, 5]),
        _PAIR,
        the_sizes_that_they_say=_sizes,
        what_they_make_of_an_input=_two_linear,
    ),
    mistakes="""
the columns of the next layer are forgotten | The next layer has a column for each neuron that it reads. Left as it is, it waits for answers that nobody gives any more, and the first batch stops with an error.
  second.weight.data = second.weight.data[:, keep] =>
  first.out_features = second.in_features => first.out_features
the columns are forgotten, though in_features is changed | The next layer says the new number, and its weight still has a column for each old neuron.
  second.weight.data = second.weight.data[:, keep] =>
rows for columns in the next layer | A row of the next layer is one of *its own* neurons. What it reads from this layer stands in its columns: the second dimension.
  [:, keep] => [keep]
the bias is forgotten | Each neuron owns one number of the bias, beside its row. With the old bias the shapes no longer fit, or each neuron gets another one's.
  first.bias.data = first.bias.data[keep] =>
the first columns of the next layer, not those that stay | Each neuron keeps its own column: index with the same list.
  [:, keep] => [:, : len(keep)]
the next layer's bias is cut to the same length, too | @bias
  [:, keep] => [:, keep]; second.bias.data = second.bias.data[: len(keep)]
the next layer's bias is cut, too | @bias
  [:, keep] => [:, keep]; second.bias.data = second.bias.data[keep]
out_features and in_features are stale | The tensors shrank, the numbers beside them did not. A summary, an export or your next pruning reads them, and is told a lie.
  first.out_features = second.in_features = len(keep) =>
in_features of the next layer is stale | The first layer tells the truth now. The second one reads fewer numbers than before, too.
  first.out_features = second.in_features => first.out_features
out_features of the first layer is stale | The second layer tells the truth now. The first one computes fewer numbers than before, too.
  first.out_features = second.in_features => second.in_features
in_features of the second is what the first one reads | The second layer reads what the first one computes: as many numbers as neurons stay.
  first.out_features = second.in_features = len(keep) => first.out_features, second.in_features = first.weight.shape
the wrong sizes are changed | What the first layer computes (out) and what the second one reads (in) shrank. The other two stayed.
  first.out_features = second.in_features => first.in_features = second.out_features
the list of those that stay, taken for those that go | @stay
  first, second = => keep = [i for i in range(len(first.weight)) if i not in keep]; first, second =
set to zero instead of removed | The answers are right, and nothing became smaller or faster: zeros are multiplied, too.
  = first, second = copy.deepcopy(first), copy.deepcopy(second)
  = gone = [i for i in range(len(first.weight)) if i not in keep]
  = first.weight.data[gone], first.bias.data[gone] = 0, 0
  = return first, second
""",
    checked="both weights, both biases, the sizes that the layers say, and the answer to an input",
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
_WIDE = _irregular(
    nn.Conv2d(2, 5, 3, stride=2, padding=1, dilation=2),
    nn.BatchNorm2d(5, eps=0.4, momentum=0.3),
    nn.Conv2d(5, 3, 2, padding=1, dilation=2),
)
_TRAINING = (_WIDE[0], copy.deepcopy(_WIDE[1]).train(), _WIDE[2])
_SETTINGS = ("kernel_size", "stride", "padding", "dilation", "eps", "momentum", "training")
_PICTURE = torch.arange(98.0).view(1, 2, 7, 7).mul(0.37).sin()


def _block(x: float | Tensor) -> Callable[[dict[str, Any]], Any]:
    """What the next convolution says of a pixel or a picture: conv, batch norm, ReLU, conv."""
    seen = x if isinstance(x, Tensor) else torch.full((1, 1, 1, 1), x)
    return lambda layers: _through(seen, layers["conv"], layers["bn"], F.relu, layers["following"])


def _settings(*given: Any) -> Callable[[dict[str, Any]], bool]:
    """Whether the three layers have all the settings that they were built with."""

    def look(layers: dict[str, Any]) -> bool:
        pairs = [
            (name, old, what) for name, old in zip(_BLOCK, given, strict=True) for what in _SETTINGS
        ]
        lost = [
            f"{what} of {name}"
            for name, old, what in pairs
            if getattr(layers[name], what, None) != getattr(old, what, None)
        ]
        if lost:
            why = "A layer that is built anew needs all that the old one was built with. A copy has it."
            raise TroubleError(Mistake(f"lost: {', '.join(lost)}", why), "other settings")
        return True

    return look


def _four_of_norm(layers: dict[str, Any]) -> dict[str, Tensor]:
    return {name: getattr(layers["bn"], name).detach() for name in _NORM}


remove_channels = Check(
    name="remove_channels",
    right="""
def remove_channels(conv, bn, following, keep):
    conv, bn, following = copy.deepcopy((conv, bn, following))
    conv.weight.data, conv.bias.data = conv.weight.data[keep], conv.bias.data[keep]
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(bn, name).data = getattr(bn, name).data[keep]
    following.weight.data = following.weight.data[:, keep]
    return conv, bn, following
""",
    tries=_looks(
        "channels [0, 2] of 4 stay: ",
        (*_CHANNELS, [0, 2]),
        _BLOCK,
        the_convolution=_tensors("conv", "weight", "bias"),
        the_four_tensors_of_the_batch_norm=_four_of_norm,
        the_next_convolution=_tensors("following", "weight", "bias"),
        what_the_next_convolution_makes_of_a_pixel_of_1=_block(1.0),
    )
    | _looks(
        "channels [1, 2, 4] of 5 stay, kernels of 3 and 2, stride, padding, dilation: ",
        (*_WIDE, [1, 2, 4]),
        _BLOCK,
        what_they_make_of_a_picture=_block(_PICTURE),
        are_the_settings_as_before=_settings(*_WIDE),
    )
    | _looks(
        "the same, a batch norm in training mode: ",
        (*_TRAINING, [1, 2, 4]),
        _BLOCK,
        are_the_settings_as_before=_settings(*_TRAINING),
    ),
    mistakes="""
the batch norm stays whole | It holds four numbers for each channel. Left as it is, it still waits for the old number of channels.
  - for name in ("weight", "bias", "running_mean", "running_var"):
  -         getattr(bn, name).data = getattr(bn, name).data[keep]
running mean and variance are forgotten | They are buffers, not parameters, so parameters() does not list them. In eval mode each channel is normalized by them.
  , "running_mean", "running_var" =>
only running_mean is forgotten | The mean is counted for each channel, as the variance is.
  "running_mean",  =>
the batch norm's weight and bias are forgotten | The statistics are cut, γ and β are not. They scale and shift each channel, and belong to it as well.
  "weight", "bias",  =>
β of the batch norm is forgotten | It shifts each channel, and belongs to it as γ does.
  "bias", =>
the first numbers of γ and β, not those of the channels that stay | Each channel keeps its own: index with the same list.
  (bn, name).data[keep] => (bn, name).data[keep if name[0] == "r" else slice(len(keep))]
the first running means and variances, not those that stay | Each channel keeps its own: index with the same list.
  (bn, name).data[keep] => (bn, name).data[keep if name[0] != "r" else slice(len(keep))]
mean and variance are exchanged | running_mean is taken off, running_var is divided by.
  return conv, bn, following => bn.running_mean, bn.running_var = bn.running_var, bn.running_mean; return conv, bn, following
a fresh batch norm | Its size is right, but all that it had learned is gone: γ is 1, β and the mean are 0. The smaller network is then another one than the masked.
  - for name in ("weight", "bias", "running_mean", "running_var"):
  -         getattr(bn, name).data = getattr(bn, name).data[keep]
  + bn = nn.BatchNorm2d(len(keep), bn.eps).eval()
the batch norm's statistics are fresh | γ and β are copied, but the mean is 0 and the variance 1: in eval mode each channel is normalized by others.
  (bn, name).data[keep] => (bn, name).data[keep] if name[0] != "r" else torch.full((len(keep),), float("var" in name))
the convolution's bias is forgotten | Each channel has a filter and one number of the bias. Both go.
  conv.weight.data, conv.bias.data = conv.weight.data[keep], conv.bias.data[keep] => conv.weight.data = conv.weight.data[keep]
the first channels, not those that were asked for | `keep` names which channels stay, not how many.
  conv, bn, following = copy => keep = list(range(len(keep))); conv, bn, following = copy
the next convolution still reads the old channels | Its weight is [out, in, height, width], and has an `in` for each channel that it reads.
  following.weight.data = following.weight.data[:, keep] =>
the next convolution loses its own channels | @rows
  [:, keep] => [keep]
the next convolution's bias is cut, too | @bias
  [:, keep] => [:, keep]; following.bias.data = following.bias.data[keep]
the list of those that stay, taken for those that go | @stay
  conv, bn, following = copy => keep = [i for i in range(len(conv.weight)) if i not in keep]; conv, bn, following = copy
filters set to zero instead of removed | Nothing became smaller; and batch norm's β and mean still make a constant of each silent channel, which the next layer hears.
  = conv, bn, following = copy.deepcopy((conv, bn, following))
  = gone = [i for i in range(len(conv.weight)) if i not in keep]
  = conv.weight.data[gone], conv.bias.data[gone] = 0, 0
  = return conv, bn, following
""",
    checked="two tensors of the convolution, four of the batch norm, two of the next one, the answers",
    not_checked="convolutions without bias or with groups; the sizes that layers say (exercise 6)",
)

# --- 3 · silence a channel ------------------------------------------------------------------------


def _silent(answer: Answer) -> bool:
    """Whether a very bright and a very dark pixel are answered as if channels 1 and 2 were not there."""
    without = dict(zip(_BLOCK, copy.deepcopy(_CHANNELS), strict=True))
    without["following"].weight.data[:, [1, 2]] = 0
    kinds = [type(one) for one in _CHANNELS]
    layers = without, _copies(answer, (*_CHANNELS, [1, 2]), _BLOCK, kinds)
    return all(agree(*(_block(pixel)(one) for one in layers)) for pixel in (1e5, -1e5))


def _same_ones(answer: Answer) -> bool:
    layers = copy.deepcopy(_CHANNELS)
    return any(one is old for one in answer(*layers, []) for old in layers)


silence_channels = Check(
    name="silence_channels",
    right="""
def silence_channels(conv, bn, following, gone):
    conv, bn, following = copy.deepcopy((conv, bn, following))
    with torch.no_grad():
        following.weight[:, gone] = 0
    return conv, bn, following
""",
    tries=_looks(
        "channels [1, 2] of 4 fall silent: ",
        (*_CHANNELS, [1, 2]),
        _BLOCK,
        what_the_next_convolution_makes_of_a_pixel_of_1=_block(1.0),
        what_the_next_convolution_makes_of_a_pixel_of_minus_4=_block(-4.0),
        how_many_channels_the_three_layers_hold=lambda layers: [
            layers["conv"].weight.shape[0],
            layers["bn"].weight.shape[0],
            layers["following"].weight.shape[1],
        ],
    )
    | _looks(
        "channels [0, 3, 4] of 5 fall silent, kernels of 3 and 2: ",
        (*_WIDE, [0, 3, 4]),
        _BLOCK,
        what_they_make_of_a_picture=_block(_PICTURE),
    )
    | _looks(
        "no channel falls silent, gone = []: ",
        (*_CHANNELS, []),
        _BLOCK,
        what_the_next_convolution_makes_of_a_pixel_of_1=_block(1.0),
    )
    | {
        "no channel falls silent: is a layer the old one, not a copy?": _same_ones,
        "channels [1, 2] of 4: are they silent for pixels of 100,000 and −100,000, too?": _silent,
    },
    mistakes="""
silent for small inputs only | However low β is, some input is large enough to pass. γ = 0 takes the input out.
  ? before: right
  ? silent for pixels of 100,000: no
an old layer is given back, not a copy | Whoever changes what you give back then changes the caller's layer, too.
  ? before: right
  ? is a layer the old one: yes
batch norm speaks for a filter of zeros | Zeros go in, and β − γ · mean / √(variance + ε) comes out, the same for each picture. The next layer hears it, unless it is negative.
  following.weight[:, gone] = 0 => conv.weight[gone] = 0; conv.bias[gone] = 0
the filter is zero, its bias is not | The bias still goes into the batch norm, which makes it louder. And without the bias there would still be batch norm's own constant.
  following.weight[:, gone] = 0 => conv.weight[gone] = 0
β is zero, the mean is not | Batch norm takes the running mean off before it scales: 0 minus a negative mean is positive, and ReLU lets it pass.
  following.weight[:, gone] = 0 => conv.weight[gone] = 0; conv.bias[gone] = 0; bn.bias[gone] = 0
nothing is left to be scaled, but β speaks | β is added afterwards: the channel says β, always.
  following.weight[:, gone] = 0 => bn.weight[gone] = 0
β is zero, the channel speaks on | It only speaks less, or more: what comes from the filter still passes the batch norm.
  following.weight[:, gone] = 0 => bn.bias[gone] = 0
the next convolution's own channels are silenced | @rows
  following.weight[:, gone] = 0 => following.weight[[g for g in gone if g < len(following.weight)]] = 0
only a part of the kernel is silenced | The next convolution reads the channel at each place of its kernel: [:, gone] takes all of them.
  [:, gone] => [:, gone, following.weight.shape[2] // 2, following.weight.shape[3] // 2]
only the first corner of the kernel is silenced | The next convolution reads the channel at each place of its kernel: [:, gone] takes all of them.
  [:, gone] => [:, gone, 0, 0]
β and the mean are zero, γ is not | γ still scales what the filter gives. Only where the filter is zero as well is nothing left.
  following.weight[:, gone] = 0 => bn.bias[gone] = 0; bn.running_mean[gone] = 0
mean and variance are zero, γ and β are not | The channel is then divided by nearly nothing, and louder than before. γ and β are what lets it speak.
  following.weight[:, gone] = 0 => bn.running_mean[gone] = 0; bn.running_var[gone] = 0
all between the first and the last of them fall silent | `gone` names each of them; those between have their say.
  [:, gone] => [:, min(gone) : max(gone) + 1]
the last of them speaks on | `gone` is a list: all of its channels have no say.
  [:, gone] => [:, gone[:-1]]
the first channels fall silent, whichever were named | `gone` names which ones, not how many.
  [:, gone] => [:, : len(gone)]
only the first of them falls silent | `gone` is a list: all of its channels have no say.
  [:, gone] => [:, gone[0]]
the next convolution's bias of the same numbers is silenced, too | Its bias belongs to what it computes itself, and `gone` numbers what it reads.
  = 0 => = 0; following.bias[[g for g in gone if g < len(following.bias)]] = 0
the next convolution's bias is silenced, too | @bias
  = 0 => = 0; following.bias[:] = 0
the wrong ones fall silent | Here the list names the channels that go. In exercise 2 it named those that stay: look twice in any library, too.
  [:, gone] => [:, [i for i in range(len(conv.weight)) if i not in gone]]
removed instead of silenced | The answers are right. But here the network keeps its size: a mask that can be taken off again, to measure what a channel is worth before it goes.
  = keep = [i for i in range(len(conv.weight)) if i not in gone]
  = conv, bn, following = copy.deepcopy((conv, bn, following))
  = conv.weight.data, conv.bias.data = conv.weight.data[keep], conv.bias.data[keep]
  = for name in ("weight", "bias", "running_mean", "running_var"):
  =     getattr(bn, name).data = getattr(bn, name).data[keep]
  = following.weight.data = following.weight.data[:, keep]
  = return conv, bn, following
nobody falls silent | The three layers say what they said before. Did you change a copy of a copy?
  = 0 => .clone().zero_()
""",
    checked="the answers to two pixels and a picture, in eval mode, and that the sizes stay",
    not_checked="training mode, where batch norm uses the batch's own statistics; other "
    "nonlinearities",
)

# --- 4 · a head -----------------------------------------------------------------------------------

_ATTENTION = ("query", "key", "value", "output")


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


def _four_heads() -> dict[str, nn.Module]:
    """Four heads of five numbers."""
    layers = _irregular(nn.Linear(6, 20), nn.Linear(6, 20), nn.Linear(6, 20), nn.Linear(20, 6))
    return dict(zip(_ATTENTION, layers, strict=True))


def _stale_heads() -> dict[str, nn.Module]:
    """Two heads of three numbers, as an earlier cut has left them: the sizes beside the tensors are old."""
    layers = _irregular(nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4))
    for layer in layers[:3]:
        layer.out_features = 12
    layers[3].in_features = 12
    return dict(zip(_ATTENTION, layers, strict=True))


def _attend(size: int) -> Callable[[dict[str, Any]], Any]:
    """What the attention says of a few tokens."""

    def look(layers: dict[str, Any]) -> Any:
        width = layers["query"].weight.shape[1]
        x = torch.arange(3.0 * width).view(1, 3, width).sin().mul(0.05).to(layers["query"].weight)
        try:
            with torch.no_grad():
                query, key, value = (
                    layers[name].eval()(x).unflatten(-1, (-1, size)).transpose(1, 2)
                    for name in ("query", "key", "value")
                )  # [1, heads, tokens, size]
                mixed = F.scaled_dot_product_attention(query, key, value)
                return layers["output"](mixed.transpose(1, 2).flatten(2))[0]
        except (RuntimeError, ValueError) as error:
            return f"an error: {str(error).splitlines()[0]}"

    return look


_EACH = {f"the_{name}_layer": _tensors(name, "weight", "bias") for name in _ATTENTION}

remove_heads = Check(
    name="remove_heads",
    right="""
def remove_heads(layers, heads, keep):
    layers = copy.deepcopy(layers)
    size = len(layers["query"].weight) // heads
    places = [head * size + i for head in keep for i in range(size)]
    for layer in (layers["query"], layers["key"], layers["value"]):
        layer.weight.data, layer.bias.data = layer.weight.data[places], layer.bias.data[places]
    layers["output"].weight.data = layers["output"].weight.data[:, places]
    return layers
""",
    tries=_looks(
        "three heads of two numbers, head 0 stays: ", (_attention(), 3, [0]), _ATTENTION, **_EACH
    )
    | _looks(
        "three heads of two numbers, heads 0 and 2 stay: ",
        (_attention(), 3, [0, 2]),
        _ATTENTION,
        **_EACH,
        what_it_says_of_three_tokens=_attend(2),
    )
    | _looks(
        "four heads of five numbers, heads 1 and 3 stay: ",
        (_four_heads(), 4, [1, 3]),
        _ATTENTION,
        what_they_say_of_three_tokens=_attend(5),
    )
    | _looks(
        "two heads of three numbers, head 1 stays, in_features and out_features are old: ",
        (_stale_heads(), 2, [1]),
        _ATTENTION,
        what_they_say_of_three_tokens=_attend(3),
    ),
    mistakes="""
the output layer is cut like the others | It reads what the heads say: cut its columns, and let its rows and its bias stay.
  layers["value"]): => layers["value"], layers["output"]):
  layers["output"].weight.data = layers["output"].weight.data[:, places] => pass
the output layer keeps its columns | The output layer reads the answers of all heads side by side, a few columns for each. Those of the heads that go must go as well.
  layers["output"].weight.data = layers["output"].weight.data[:, places] =>
rows for columns in the output layer | Its rows are what the attention gives back. What it reads of each head stands in columns.
  [:, places] => [[p for p in places if p < len(layers["output"].weight)]]
the output layer's bias is cut, too | That bias belongs to what the attention gives back, and all of that stays.
  [:, places] => [:, places]; bias = layers["output"].bias; bias.data = bias.data[[p for p in places if p < len(bias)]]
the size of a head, computed from what is left | A head keeps its size. It is the old width divided by the *old* number of heads; divided by the new one it grows as heads go, and every row moves.
  // heads => // len(keep)
  [head * size + i for head in keep for i in range(size)] => [p for p in (head * size + i for head in keep for i in range(size)) if p < len(layers["query"].weight)]
a size that the layer says, which may be old | An earlier cut has left the numbers beside the tensors as they were. The shape of a weight cannot be out of date.
  len(layers["query"].weight) // heads => layers["query"].out_features // heads
  for i in range(size)] => for i in range(size) if head * size + i < len(layers["query"].weight)]
one block from the first of them on | Those that stay need not be neighbors: each head has a block of its own.
  [head * size + i for head in keep for i in range(size)] => [p for p in range(keep[0] * size, (keep[0] + len(keep)) * size) if p < heads * size]
all between the first and the last head that stay | `keep` names each of them; those between may go.
  for head in keep for => for head in range(keep[0], keep[-1] + 1) for
one row for each head | A head is as many neighboring rows as it has numbers, not one.
  [head * size + i for head in keep for i in range(size)] => list(keep)
as many rows for a head as there are heads | The number of heads and the size of a head are two numbers; their product is the width.
  len(layers["query"].weight) // heads => heads
  for i in range(size)] => for i in range(size) if head * size + i < len(layers["query"].weight)]
every third row | The rows of a head are neighbors: first all of head 0, then all of head 1. Your view() has heads and numbers in the wrong order.
  head * size + i for => head + heads * i for
every third row, in rising order | The rows of a head are neighbors: first all of head 0, then all of head 1.
  [head * size + i for head in keep for i in range(size)] => [row for row in range(heads * size) if row % heads in keep]
the first bias numbers, not those of the heads that stay | Each row has its own number of the bias: the same list of places.
  layer.bias.data[places] => layer.bias.data[: len(places)]
the biases of query, key and value are forgotten | Each row has a number of the bias beside it. In BERT all three have one.
  layer.weight.data, layer.bias.data = layer.weight.data[places], layer.bias.data[places] => layer.weight.data = layer.weight.data[places]
columns for rows in query, key and value | Their rows are the numbers of the heads; their columns are what they read, and all of that stays.
  layer.weight.data[places] => layer.weight.data[:, [p for p in places if p < layer.weight.shape[1]]]
columns for rows in query, key and value; their biases are forgotten | Their rows are the numbers of the heads, each with a number of the bias; their columns are what they read, and all of that stays.
  layer.weight.data, layer.bias.data = layer.weight.data[places], layer.bias.data[places] => layer.weight.data = layer.weight.data[:, [p for p in places if p < layer.weight.shape[1]]]
the value layer is forgotten | Query and key decide where a head looks, value what it says: it has rows in all three.
  , layers["value"]) => )
the key layer is forgotten | A head compares its queries with its keys: it has rows in all three.
  layers["key"],  =>
the first heads, not those that were asked for | `keep` names which heads stay, not how many.
  for head in keep for => for head in range(len(keep)) for
the list of those that stay, taken for those that go | @stay
  for head in keep for => for head in range(heads) if head not in keep for
""",
    checked="weights and biases of all four layers, one head and two of three; the answers to three tokens",
    not_checked="query, key and value in one matrix (GPT-2), keys that heads share, missing biases",
)

# --- 5 · the importance of a head -----------------------------------------------------------------

_SAID = torch.tensor([[[[1.0, 2], [2, 0]]], [[[1.0, 1.5], [1, 1]]]])  # [2, 1, 2, 2]
_SLOPE = torch.tensor([[[[1.0, -1], [1, 3]]], [[[3.0, -1], [-2, -1]]]])
_SHOWN = (
    "answers [[[[1, 2], [2, 0]]], [[[1, 1.5], [1, 1]]]], "
    "gradients [[[[1, -1], [1, 3]]], [[[3, -1], [-2, -1]]]], "
)
_TWO_TOKENS = (
    torch.tensor([[[[1.0, 0], [2, 1]], [[3.0, 1], [1, 0]]]]),  # [1, 2, 2, 2]
    torch.tensor([[[[2.0, 5], [1, 1]], [[-1.0, 0], [2, 7]]]]),
)
_LARGE = tuple(torch.arange(72.0).view(3, 2, 4, 3).mul(f).sin() for f in (1.7, 0.9))

head_importance = Check(
    name="head_importance",
    right="""
def head_importance(answers, gradients, parameters):
    gates = (answers * gradients).sum((1, 3))  # [sentences, heads]
    return gates.abs().mean(0) / parameters
""",
    tries={
        _SHOWN + "parameters 1": call(_SAID, _SLOPE, 1),
        _SHOWN + "parameters 4": call(_SAID, _SLOPE, 4),
        "one example of two tokens, answers [[[[1, 0], [2, 1]], [[3, 1], [1, 0]]]], gradients "
        "[[[[2, 5], [1, 1]], [[-1, 0], [2, 7]]]], parameters 1": call(*_TWO_TOKENS, 1),
        "three sentences, two tokens, four heads of three numbers, parameters 7 | other sizes": call(
            *_LARGE, 7
        ),
        "one head of one number in three sentences, parameters 7": call(
            *(one[:, :, :1, :1] for one in _LARGE), 7
        ),
    },
    mistakes="""
averaged first, then the absolute value | A head that helps one sentence and harms another averages to nothing, and looks dispensable. Take the absolute value of each example, then the mean.
  gates.abs().mean(0) => gates.mean(0).abs()
the absolute value of each number | There is one gate for the whole head: the changes that its numbers make to the loss add up, and may cancel. Sum over the head's numbers first.
  (answers * gradients).sum => (answers * gradients).abs().sum
the absolute value of each token | The gate closes the head for the whole sentence. Add up its tokens before you take the absolute value.
  (answers * gradients).sum((1, 3)) => (answers * gradients).sum(3).abs().sum(1)
the absolute value of each number of the head | The head's numbers add up, and may cancel. Add up before you take the absolute value.
  (answers * gradients).sum((1, 3)) => (answers * gradients).sum(1).abs().sum(2)
answers and gradients are added up apart | The product comes first, number by number, then the sum: a sum of products is not a product of sums.
  (answers * gradients).sum((1, 3)) => answers.sum((1, 3)) * gradients.sum((1, 3))
a mean over the head's numbers and tokens, too | The gate's gradient is a sum. With a mean long sentences, and large heads, count less.
  .sum((1, 3)) => .mean((1, 3))
a mean over the tokens | The gate's gradient is a sum over the tokens. With a mean long sentences count less.
  .sum((1, 3)) => .sum(3).mean(1)
a mean over the head's numbers | The gate's gradient is a sum over the head's numbers. With a mean large heads count less.
  .sum((1, 3)) => .sum(1).mean(2)
divided by the parameters of all heads | `parameters` are those of one head, and the importance is that of one head.
  / parameters => / (parameters * answers.shape[2])
shares of the layer's importance | Scaled to add up to 1, a layer in which no head matters looks like any other. To rank across layers keep the numbers as they are.
  return gates.abs().mean(0) / parameters => return gates.abs().mean(0) / gates.abs().mean(0).sum()
""",
    checked="two examples whose signs differ, two tokens, heads of 1, 4 and 7 parameters, other sizes",
    not_checked="where the gradients come from; padding; whether a first-order estimate is good enough",
)

# --- 6 · spot the error: stale out_channels -------------------------------------------------------


def _stale() -> nn.Sequential:
    """A network whose tensors were cut, and whose numbers say what was before."""
    grouped = nn.Conv2d(12, 9, 5, groups=3)
    block: Any = nn.ModuleDict({"linear": nn.Linear(9, 9), "norm": nn.BatchNorm2d(9)})
    deep: Any = nn.Sequential(nn.ReLU(), nn.ModuleList([block]))
    net: Any = nn.Sequential(
        *(nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.Sequential(nn.ReLU(), grouped)),
        *(nn.Flatten(), nn.Linear(24, 10), deep, nn.Linear(6, 4, bias=False)),
    )
    _cut_(net[0], 4)
    _cut_(net[1], 4)
    grouped.weight.data = grouped.weight.data[:, :2]  # six channels in three groups
    _cut_(net[6], 3)
    _cut_(net[4], 5)
    net[4].weight.data = net[4].weight.data[:, :12]
    for layer in block.values():
        _cut_(layer, 7)
    return net


def _cut_(layer: Any, units: int) -> Any:
    for name in _NORM:
        if getattr(layer, name, None) is not None:
            getattr(layer, name).data = getattr(layer, name).data[:units]
    return layer


def _said(layer: Any) -> Any:
    if isinstance(layer, nn.BatchNorm2d):
        return layer.num_features
    if isinstance(layer, nn.Conv2d):
        return [layer.in_channels, layer.out_channels]
    return [layer.in_features, layer.out_features]


def _true(layer: Any) -> Any:
    """What `_said` should give; None for a layer of another kind."""
    if isinstance(layer, nn.BatchNorm2d):
        return len(layer.weight)
    if isinstance(layer, nn.Conv2d):
        return [layer.weight.shape[1] * layer.groups, len(layer.weight)]
    return [layer.weight.shape[1], len(layer.weight)] if isinstance(layer, nn.Linear) else None


def _asked(what: Callable[[Any], Any], make: Callable[[], nn.Module] = _stale) -> Answer:
    def attempt(answer: Answer) -> Any:
        module = make()
        answer(module)
        return what(module)

    return attempt


def _whole(net: Any) -> bool:
    """Whether the sizes are whole numbers of Python."""
    sizes = [_said(layer) for layer in net.modules() if _true(layer) is not None]
    return all(type(size) is int for size in _flat(sizes))


def _flat(sizes: list[Any]) -> list[Any]:
    return [one for size in sizes for one in (size if isinstance(size, list) else [size])]


def _weights_stay(answer: Answer) -> bool:
    module = _stale()
    before, old = copy.deepcopy(dict(module.state_dict())), list(module.parameters())
    answer(module)
    same = all(one is other for one, other in zip(old, module.parameters(), strict=True))
    return same and unchanged(before, dict(module.state_dict()))


_WEIGHTS = "are its tensors as before?"
_GROUPS = "a convolution inside a block, weight [9, 2, 5, 5], 3 groups, says [in, out]"

set_sizes_ = Check(
    name="set_sizes_",
    right="""
def set_sizes_(module):
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.Conv2d):
            layer.out_channels, within_group = layer.weight.shape[:2]
            layer.in_channels = within_group * layer.groups
        elif isinstance(layer, nn.BatchNorm2d):
            layer.num_features = len(layer.weight)
""",
    tries={
        _WEIGHTS: _weights_stay,
        "a convolution with a weight of [4, 3, 5, 5] says [in, out]": _asked(
            lambda net: _said(net[0])
        ),
        "a batch norm of four channels says": _asked(lambda net: _said(net[1])),
        _GROUPS: _asked(lambda net: _said(net[2][1])),
        "are its groups still 3? | groups": _asked(lambda net: net[2][1].groups == 3),
        "a linear layer with a weight of [5, 12] says [in, out]": _asked(lambda net: _said(net[4])),
        "a linear layer by itself, weight [5, 12], says [in, out]": _asked(
            _said, lambda: _stale()[4]
        ),
        "a linear layer two blocks down, weight [7, 9], says [in, out]": _asked(
            lambda net: _said(net[5][1][0]["linear"])
        ),
        "a batch norm two blocks down, of seven channels, says": _asked(
            lambda net: _said(net[5][1][0]["norm"])
        ),
        "a linear layer without a bias, weight [3, 6], says [in, out] | a layer without a bias": _asked(
            lambda net: _said(net[6])
        ),
        "a batch norm of four channels, without running statistics, says | a batch norm without "
        "running statistics": _asked(
            _said, lambda: _cut_(nn.BatchNorm2d(6, track_running_stats=False), 4)
        ),
        "are the sizes whole numbers?": _asked(_whole),
        "does it return nothing?": lambda answer: answer(_stale()) is None,
    },
    mistakes=f"""
the tensors are other ones | The tensors are the truth here, the numbers beside them the lie. A new layer of the right size has random weights.
  ? {_WEIGHTS}: no
the sizes are not whole numbers | Whoever builds the layer anew needs ints: those of a tensor's .shape are.
  ? before: right
  ? are the sizes whole numbers: no
something is returned | The name ends with _: it changes the module, and whoever calls it expects nothing back.
  ? before: right
  ? return nothing: no
the groups are changed, too | They are right: what the layer reads is the second size of its weight, times the groups.
  ? are its groups still 3?: no
a copy is set right, not the module | The name ends with _: the module itself is to be changed.
  = return copy.deepcopy(module)
the kernel's height for what it reads | A convolution's weight is [out, in, height, width]: the second size counts.
  layer.in_channels = within_group * layer.groups => layer.in_channels = layer.weight.shape[2] * layer.groups
the out size is read off the bias | A layer may have none. Each has a weight, whose first size is the same number.
  = for layer in module.modules():
  =     if isinstance(layer, nn.Linear):
  =         layer.out_features, layer.in_features = len(layer.bias), layer.weight.shape[1]
  =     elif isinstance(layer, nn.Conv2d):
  =         layer.out_channels, layer.in_channels = len(layer.bias), layer.weight.shape[1] * layer.groups
  =     elif isinstance(layer, nn.BatchNorm2d):
  =         layer.num_features = len(layer.bias)
the numbers are as stale as before | Did you change a copy, or another attribute? They are called in_channels, out_channels, num_features, in_features and out_features.
  = return None
in and out are swapped | A weight is [out, in, …]: its first dimension is what the layer computes.
  layer.out_features, layer.in_features = => layer.in_features, layer.out_features =
  layer.out_channels, within_group = => layer.in_channels, within_group =
  layer.in_channels = within_group => layer.out_channels = within_group
in and out of the linear layers are swapped | A weight is [out, in]: its first dimension is what the layer computes.
  layer.out_features, layer.in_features = => layer.in_features, layer.out_features =
in and out of the convolutions are swapped | A weight is [out, in, …]: its first dimension is what the layer computes.
  layer.out_channels, within_group = => layer.in_channels, within_group =
  layer.in_channels = within_group => layer.out_channels = within_group
only what a layer computes, not what it reads | The layer behind a pruned one reads fewer channels: its `in` is as stale as the other's `out` was.
  layer.out_features, layer.in_features = layer.weight.shape => layer.out_features = len(layer.weight)
  layer.in_channels = within_group * layer.groups =>
only what a layer reads, not what it computes | A layer that was cut computes less: its `out` is as stale as the next one's `in`.
  layer.out_features, layer.in_features = layer.weight.shape => layer.in_features = layer.weight.shape[1]
  layer.out_channels, within_group = layer.weight.shape[:2] => within_group = layer.weight.shape[1]
the batch norms are forgotten | num_features is read, too: by an export, and by whoever builds the layer anew.
  layer.num_features = len(layer.weight) => pass
the linear layers are forgotten | They are cut like the convolutions, and say in_features and out_features.
  layer.out_features, layer.in_features = layer.weight.shape => pass
the groups are counted from an old size | in_channels is what you are to mend, so nothing can be worked out from it. `groups` is right.
  within_group * layer.groups => within_group * (layer.in_channels // within_group)
as many channels as there are groups | That is so only if each group reads one channel: in all there are groups times weight.shape[1].
  within_group * layer.groups => layer.groups if layer.groups > 1 else within_group
the groups are forgotten | With groups each filter sees its own group's channels alone: weight.shape[1] is in_channels divided by groups.
  within_group * layer.groups => within_group
what a convolution computes is multiplied by the groups, too | The first size of the weight holds the filters of all groups; only the second is that of one group.
  layer.in_channels = within_group * layer.groups => layer.in_channels, layer.out_channels = within_group * layer.groups, layer.out_channels * layer.groups
divided by the groups | Each filter sees its own group's channels alone: in all there are groups times as many.
  within_group * layer.groups => within_group // layer.groups
layers inside a block are missed | children() goes one step down only, and a layer has no children at all. modules() walks through everything, the module itself among it.
  module.modules() => module.children()
layers two blocks down are missed | You go one block down. modules() walks through everything, at any depth.
  module.modules() => [module, *module.children(), *(m for child in module.children() for m in child.children())]
a module that is itself a layer is missed | modules() lists the module itself, too. named_children() and a loop over blocks do not.
  module.modules() => list(module.modules())[1:]
""",
    checked="convolutions, batch norms and linear layers, at three depths, one with groups",
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
    whole = evaluation.operations(models.build(models.SmallCNN), picture)
    return evaluation.operations(model, picture) / whole


def _parameters(model: nn.Module) -> float:
    mine, whole = (
        sum(p.numel() for p in m.parameters()) for m in (model, models.build(models.SmallCNN))
    )
    return mine / whole


def _heldout(model: nn.Module) -> float:
    return evaluation.evaluate(model, datasets.mnist()["test"]).value


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
    mistakes=f"""
the result of `fit` for its network | fit gives the network and its history; the network is its attribute `model`.
  ? {_WHAT}: Fitted
the result of `speed_up` for its network | speed_up gives the network and what it measured; the network is its attribute `model`. Has it been trained since?
  ? {_WHAT}: SpedUp
another network | To start from a smaller design is a good idea, but another exercise. Here the CNN itself is made narrower.
  ? {_WHAT}: another network
its layers do not say their true sizes | It was cut by hand, and the numbers beside the tensors are stale. Your set_sizes_ mends that.
  ? {_WHAT}: a SmallCNN
  ? {_TRUE}: no
zeros are multiplied, too | A large share of the weights is zero, and not one operation was saved. Remove whole units instead: lesson 1's pruning makes files smaller, not networks faster.
  ? {_WORK}: 0.5 to 1
  ? {_ZEROS}: 0.2 to 1
half of the parameters for half of the work | Most parameters stand in fc1, and are used once for each picture. Most of the work is done by conv2, whose few weights are used at every pixel. Narrow what takes time.
  ? {_WORK}: 0.5 to 1
  ? {_ZEROS}: 0 to 0.2
  ? {_NUMBERS}: 0 to 0.5
more must go | It still does more than half of the work. Which layer does most of it?
  ? {_WORK}: 0.5 to 1
  ? {_ZEROS}: 0 to 0.2
  ? {_NUMBERS}: 0.5 to 1
cut, and never recovered | It is fast, and often wrong. Let what is left train for an epoch or two: the other units take over.
  ? {_WORK}: 0 to 0.5
  ? {_RIGHT}: 0 to 0.9
a little below the bar | Has it been trained since the cut? If so: ask for less, or train longer. Decide on the validation part, with a margin: its accuracy has an interval, too.
  ? {_WORK}: 0 to 0.5
  ? {_RIGHT}: 0.9 to {_BAR}
""",
    checked="at most half of the operations, 95 % right on the 1,000 test pictures, true sizes",
    not_checked="the time itself (measure it below), the epochs, whether you saw those pictures before",
)
