"""Plausible wrong answers to lesson 2's exercises, each named; and right ones in many styles."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from styles import answers, other_clothes, short
from torch import nn
from torch.utils.data import TensorDataset
from transformers.pytorch_utils import prune_linear_layer

from course_lib import checks, data, models, pruning, structured, surgery
from course_lib.checks import lesson2
from course_lib.measure import Latency
from course_lib.speed import SpedUp
from course_lib.training import Fitted

WRONG, RIGHT, wrong, right = answers()
NORM = ("weight", "bias", "running_mean", "running_var")


def rest(keep, units):
    return sorted(set(range(units)) - set(keep))


def layers_in_other_clothes(answer: Callable) -> dict[str, Callable]:
    """The same answer in float64, as a partial, in training mode, in inference mode, with a print."""

    def changed(change: Callable[[nn.Module], Any]) -> Callable:
        def other(*given):
            value = answer(*given)
            for layer in value.values() if isinstance(value, dict) else value:
                change(layer)
            return value

        return other

    def inference(*given):
        with torch.inference_mode():
            return answer(*given)

    def noisy(*given):
        print(given)
        return answer(*given)

    return {
        "float64": changed(lambda layer: layer.double()),
        "training mode": changed(lambda layer: layer.train()),
        "without gradient": changed(lambda layer: layer.requires_grad_(False)),
        "inference mode": inference,
        "with prints": noisy,
        "partial": functools.partial(answer),
    }


# --- 1 · remove_neurons ---------------------------------------------------------------------------


def linear(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


@wrong("remove_neurons", "the columns of the next layer are forgotten")
def _(first, second, keep):
    return linear(first.weight[keep], first.bias[keep]), second


@wrong("remove_neurons", "rows for columns in the next layer")
def _(first, second, keep):
    first, second = copy.deepcopy((first, second))
    first.weight.data, first.bias.data = first.weight.data[keep], first.bias.data[keep]
    second.weight.data = second.weight.data[keep]
    first.out_features = second.in_features = len(keep)
    return first, second


@wrong("remove_neurons", "the bias is forgotten")
def _(first, second, keep):
    first = copy.deepcopy(first)
    first.weight = nn.Parameter(first.weight[keep])
    first.out_features = len(keep)
    return first, linear(second.weight[:, keep], second.bias)


@wrong("remove_neurons", "the next layer's bias is cut, too")
def _(first, second, keep):
    first, second = copy.deepcopy((first, second))
    first.weight.data, first.bias.data = first.weight.data[keep], first.bias.data[keep]
    second.weight.data, second.bias.data = second.weight.data[:, keep], second.bias.data[keep]
    first.out_features = second.in_features = len(keep)
    return first, second


@wrong("remove_neurons", "out_features and in_features are stale")
def _(first, second, keep):
    first, second = copy.deepcopy(first), copy.deepcopy(second)
    first.weight.data = first.weight.data[keep]
    first.bias.data = first.bias.data[keep]
    second.weight.data = second.weight.data[:, keep]
    return first, second


@wrong("remove_neurons", "in_features of the next layer is stale")
def _(first, second, keep):
    second = copy.deepcopy(second)
    second.weight = nn.Parameter(second.weight[:, keep])
    return linear(first.weight[keep], first.bias[keep]), second


@wrong("remove_neurons", "the list of those that stay, taken for those that go")
def _(first, second, keep):
    left = torch.ones(len(first.weight), dtype=torch.bool)
    left[keep] = False
    return linear(first.weight[left], first.bias[left]), linear(second.weight[:, left], second.bias)


@wrong("remove_neurons", "set to zero instead of removed")
def _(first, second, keep):
    mask = torch.zeros(len(first.bias))
    mask[keep] = 1
    return linear(first.weight * mask[:, None], first.bias * mask), copy.deepcopy(second)


@wrong("remove_neurons", "the input is changed in place")
def _(first, second, keep):
    first.weight.data = first.weight.data[keep]
    first.bias.data = first.bias.data[keep]
    second.weight.data = second.weight.data[:, keep]
    return first, second


@wrong("remove_neurons", "not the layers that were asked for")
def _(first, second, keep):
    return new_layers(first, second, keep)[0]


@wrong("remove_neurons", "nothing is returned")
def _(first, second, keep):
    new_layers(first, second, keep)


@right("remove_neurons")
def new_layers(first, second, keep):
    return linear(first.weight[keep], first.bias[keep]), linear(second.weight[:, keep], second.bias)


@right("remove_neurons")
def in_place_on_copies(first, second, keep):
    first, second = copy.deepcopy((first, second))
    first.weight.data, first.bias.data = first.weight.data[keep], first.bias.data[keep]
    second.weight.data = second.weight.data[:, keep]
    first.out_features = second.in_features = len(keep)
    return first, second


@right("remove_neurons")
def loop(first, second, keep):
    a, b = nn.Linear(first.in_features, len(keep)), nn.Linear(len(keep), second.out_features)
    with torch.no_grad():
        b.bias.copy_(second.bias)
        for new, old in enumerate(keep):
            a.weight[new] = first.weight[old]
            a.bias[new] = first.bias[old]
            for row in range(second.out_features):
                b.weight[row, new] = second.weight[row, old]
    return [a, b]


@right("remove_neurons")
def mask_of_bools(first, second, keep):
    mask = torch.zeros(first.out_features, dtype=torch.bool)
    mask[keep] = True
    return linear(first.weight[mask], first.bias[mask]), linear(
        second.weight.T[mask].T, second.bias
    )


@right("remove_neurons")
def index_select(first, second, keep):
    places = torch.as_tensor(keep)
    return linear(first.weight.index_select(0, places), first.bias.index_select(0, places)), linear(
        second.weight.index_select(1, places), second.bias
    )


@right("remove_neurons")
def einsum(first, second, keep):
    chosen = torch.eye(first.out_features)[keep]  # [kept, all]
    return linear(
        torch.einsum("ka,ai->ki", chosen, first.weight), torch.einsum("ka,a->k", chosen, first.bias)
    ), linear(torch.einsum("oa,ka->ok", second.weight, chosen), second.bias)


@right("remove_neurons")
def numpys_delete(first, second, keep):
    gone = rest(keep, first.out_features)
    weights = first.weight.detach().numpy(), first.bias.detach().numpy()
    columns = np.delete(second.weight.detach().numpy(), gone, axis=1)
    rows = [torch.from_numpy(np.delete(w, gone, axis=0)) for w in weights]
    return linear(*rows), linear(torch.from_numpy(columns), second.bias)


@right("remove_neurons")
def transformers_own(first, second, keep):
    places = torch.tensor(keep)
    return prune_linear_layer(first, places), prune_linear_layer(second, places, dim=1)


@right("remove_neurons")
def library(first, second, keep):
    smaller = surgery.remove(nn.Sequential(first, nn.ReLU(), second), {"0": keep})
    return smaller[0], smaller[2]


@right("remove_neurons")
def a_sequential(first, second, keep):
    return nn.Sequential(*in_place_on_copies(first, second, keep))


RIGHT["remove_neurons"] |= layers_in_other_clothes(in_place_on_copies)


# --- 2 · remove_channels --------------------------------------------------------------------------


def narrow(conv, bn, following, keep, names=NORM):
    conv, bn, following = copy.deepcopy((conv, bn, following))
    conv.weight.data, conv.bias.data = conv.weight.data[keep], conv.bias.data[keep]
    for name in names:
        getattr(bn, name).data = getattr(bn, name).data[keep]
    following.weight.data = following.weight.data[:, keep]
    return conv, bn, following


@wrong("remove_channels", "the batch norm stays whole")
def _(conv, bn, following, keep):
    new_conv, _, new_following = narrow(conv, bn, following, keep)
    return new_conv, copy.deepcopy(bn), new_following


@wrong("remove_channels", "running mean and variance are forgotten")
def _(conv, bn, following, keep):
    conv, bn, following = copy.deepcopy((conv, bn, following))
    for layer in (conv, bn):
        for parameter in layer.parameters():
            parameter.data = parameter.data[keep]
    following.weight.data = following.weight.data[:, keep]
    return conv, bn, following


@wrong("remove_channels", "the batch norm's weight and bias are forgotten")
def _(conv, bn, following, keep):
    return narrow(conv, bn, following, keep, ("running_mean", "running_var"))


@wrong("remove_channels", "a fresh batch norm")
def _(conv, bn, following, keep):
    new_conv, _, new_following = narrow(conv, bn, following, keep)
    return new_conv, nn.BatchNorm2d(len(keep), bn.eps, bn.momentum), new_following


@wrong("remove_channels", "the convolution's bias is forgotten")
def _(conv, bn, following, keep):
    new_conv, new_bn, new_following = narrow(conv, bn, following, keep)
    new_conv.bias.data = conv.bias.data.clone()
    return new_conv, new_bn, new_following


@wrong("remove_channels", "the next convolution still reads the old channels")
def _(conv, bn, following, keep):
    new_conv, new_bn, _ = narrow(conv, bn, following, keep)
    return new_conv, new_bn, copy.deepcopy(following)


@wrong("remove_channels", "the next convolution loses its own channels")
def _(conv, bn, following, keep):
    new_conv, new_bn, new_following = narrow(conv, bn, following, keep)
    new_following.weight.data = following.weight.data[keep]
    return new_conv, new_bn, new_following


@wrong("remove_channels", "the next convolution's bias is cut, too")
def _(conv, bn, following, keep):
    new_conv, new_bn, new_following = narrow(conv, bn, following, keep)
    new_following.bias = nn.Parameter(following.bias[keep])
    return new_conv, new_bn, new_following


@wrong("remove_channels", "the list of those that stay, taken for those that go")
def _(conv, bn, following, keep):
    return narrow(conv, bn, following, rest(keep, conv.out_channels))


@wrong("remove_channels", "filters set to zero instead of removed")
def _(conv, bn, following, keep):
    conv, bn, following = copy.deepcopy((conv, bn, following))
    for channel in range(conv.out_channels):
        if channel not in keep:
            conv.weight.data[channel] = conv.bias.data[channel] = 0
    return conv, bn, following


@wrong("remove_channels", "not the layers that were asked for")
def _(conv, bn, following, keep):
    return narrow(conv, bn, following, keep)[:2]


def filled(layer, **tensors):
    layer.load_state_dict(tensors, strict=False)
    return layer.eval()


RIGHT["remove_channels"] = {"narrow": narrow} | layers_in_other_clothes(narrow)


@right("remove_channels")
def built_anew(conv, bn, following, keep):
    a = nn.Conv2d(conv.in_channels, len(keep), conv.kernel_size)
    b = nn.BatchNorm2d(len(keep))
    c = nn.Conv2d(len(keep), following.out_channels, following.kernel_size)
    filled(a, weight=conv.weight[keep], bias=conv.bias[keep])
    filled(b, **{name: getattr(bn, name)[keep] for name in NORM})
    return a, b, filled(c, weight=following.weight[:, keep], bias=following.bias)


@right("remove_channels")
def with_true_sizes(conv, bn, following, keep):
    a, b, c = narrow(conv, bn, following, keep)
    a.out_channels = b.num_features = c.in_channels = len(keep)
    return a, b, c


@right("remove_channels")
def stacked_filters(conv, bn, following, keep):
    conv, bn, following = copy.deepcopy((conv, bn, following))
    conv.weight = nn.Parameter(torch.stack([conv.weight[k] for k in keep]))
    conv.bias = nn.Parameter(torch.stack([conv.bias[k] for k in keep]))
    bn.weight, bn.bias = nn.Parameter(bn.weight[keep]), nn.Parameter(bn.bias[keep])
    bn.running_mean, bn.running_var = bn.running_mean[keep], bn.running_var[keep]
    following.weight = nn.Parameter(following.weight.transpose(0, 1)[keep].transpose(0, 1))
    return conv, bn, following


@right("remove_channels")
def librarys_channels(conv, bn, following, keep):
    net = surgery.remove(nn.Sequential(conv, bn, nn.ReLU(), following), {"0": keep})
    return net[0], net[1], net[3]


@right("remove_channels")
def channel_by_channel(conv, bn, following, keep):
    for gone in reversed(rest(keep, len(conv.weight))):  # from behind, so that no number moves
        conv, bn, following = narrow(conv, bn, following, rest([gone], len(conv.weight)))
    return conv, bn, following


# --- 3 · silence_channels -------------------------------------------------------------------------


def copies(change: Callable[..., None]) -> Callable:
    """An answer: change copies of the three layers."""

    @functools.wraps(change)
    def answer(conv, bn, following, gone):
        layers = copy.deepcopy((conv, bn, following))
        with torch.no_grad():
            change(*layers, gone)
        return layers

    return answer


@wrong("silence_channels", "batch norm speaks for a filter of zeros")
@copies
def _(conv, bn, following, gone):
    for parameter in conv.parameters():
        parameter[gone] = 0


@wrong("silence_channels", "the filter is zero, its bias is not")
@copies
def _(conv, bn, following, gone):
    conv.weight.index_fill_(0, torch.tensor(gone), 0)


@wrong("silence_channels", "β is zero, the mean is not")
@copies
def _(conv, bn, following, gone):
    for tensor in (conv.weight, conv.bias, bn.bias):
        tensor[gone] = 0


@wrong("silence_channels", "γ is zero, β is not")
@copies
def _(conv, bn, following, gone):
    bn.weight[gone] *= 0


@wrong("silence_channels", "β is zero, the channel speaks on")
@copies
def _(conv, bn, following, gone):
    bn.bias[gone] = 0


@wrong("silence_channels", "the next convolution's own channels are silenced")
@copies
def _(conv, bn, following, gone):
    following.weight[gone] = 0


@wrong("silence_channels", "the wrong ones fall silent")
@copies
def _(conv, bn, following, gone):
    mask = torch.zeros(following.in_channels)
    mask[gone] = 1
    following.weight *= mask[:, None, None]


@wrong("silence_channels", "removed instead of silenced")
def _(conv, bn, following, gone):
    return narrow(conv, bn, following, rest(gone, conv.out_channels))


@wrong("silence_channels", "nobody falls silent")
@copies
def _(conv, bn, following, gone):
    following.weight[:, gone].mul_(0)  # of a copy


@wrong("silence_channels", "the input is changed in place")
def _(conv, bn, following, gone):
    following.weight.data[:, gone] = 0
    return conv, bn, following


@right("silence_channels")
@copies
def unheard(conv, bn, following, gone):
    following.weight[:, gone] = 0


@right("silence_channels")
@copies
def scale_and_shift(conv, bn, following, gone):
    bn.weight[gone] = bn.bias[gone] = 0


@right("silence_channels")
@copies
def cut_off_by_relu(conv, bn, following, gone):
    bn.weight[gone] = 0
    bn.bias[gone] = -1


@right("silence_channels")
@copies
def constant_made_zero(conv, bn, following, gone):
    conv.weight[gone] = conv.bias[gone] = 0
    bn.running_mean[gone] = bn.bias[gone] = 0


@right("silence_channels")
@copies
def shift_that_cancels(conv, bn, following, gone):
    conv.weight[gone] = conv.bias[gone] = 0
    bn.bias.copy_(
        torch.where(
            torch.isin(torch.arange(4), torch.tensor(gone)),
            bn.weight * bn.running_mean / (bn.running_var + bn.eps).sqrt(),
            bn.bias,
        )
    )


@right("silence_channels")
@copies
def times_a_mask(conv, bn, following, gone):
    mask = torch.ones(following.in_channels)
    mask[gone] = 0
    following.weight *= mask.view(1, -1, 1, 1)


@right("silence_channels")
@copies
def loops(conv, bn, following, gone):
    for row in range(following.out_channels):
        for channel in gone:
            following.weight[row, channel] = 0


@right("silence_channels")
@copies
def einsums(conv, bn, following, gone):
    mask = torch.tensor([float(c not in gone) for c in range(following.in_channels)])
    following.weight.copy_(torch.einsum("oihw,i->oihw", following.weight, mask))


@right("silence_channels")
@copies
def a_hook(conv, bn, following, gone):
    bn.register_forward_hook(lambda m, i, out: out.index_fill(1, torch.tensor(gone), 0))


@right("silence_channels")
def masked_by_the_library(conv, bn, following, gone):
    net = surgery.masked(
        nn.Sequential(conv, bn, nn.ReLU(), following), {"0": rest(gone, conv.out_channels)}
    )
    return net[0], net[1], net[3]


RIGHT["silence_channels"] |= layers_in_other_clothes(unheard)


# --- 4 · remove_heads -----------------------------------------------------------------------------


def places(keep, size=2):
    return [head * size + i for head in keep for i in range(size)]


def cut(layers, rows, names=("query", "key", "value")):
    layers = copy.deepcopy(layers)
    for name in names:
        layers[name].weight.data = layers[name].weight.data[rows]
        layers[name].bias.data = layers[name].bias.data[rows]
    layers["output"].weight.data = layers["output"].weight.data[:, rows]
    return layers


@wrong("remove_heads", "the output layer keeps its columns")
def _(layers, heads, keep):
    return cut(layers, places(keep)) | {"output": layers["output"]}


@wrong("remove_heads", "rows for columns in the output layer")
def _(layers, heads, keep):
    result = cut(layers, places(keep))
    output = copy.deepcopy(layers["output"])
    output.weight.data = output.weight.data[places(keep)]  # three rows: stops for head 2
    return result | {"output": output}


@wrong("remove_heads", "the size of a head, computed from what is left")
def _(layers, heads, keep):
    size = layers["query"].out_features // len(keep)
    return cut(layers, [head * size + i for head in keep for i in range(size)])  # stops for [0, 2]


@wrong("remove_heads", "one row for each head")
def _(layers, heads, keep):
    return cut(layers, keep)


@wrong("remove_heads", "as many rows for a head as there are heads")
def _(layers, heads, keep):
    return cut(layers, [head * heads + i for head in keep for i in range(heads)])


@wrong("remove_heads", "every third row")
def _(layers, heads, keep):
    rows = torch.arange(6).view(2, heads)[:, keep].T.flatten()
    return cut(layers, rows)


@wrong("remove_heads", "the biases of query, key and value are forgotten")
def _(layers, heads, keep):
    result = cut(layers, places(keep))
    for name in ("query", "key", "value"):
        result[name].bias = copy.deepcopy(layers[name].bias)
    return result


@wrong("remove_heads", "the value layer is forgotten")
def _(layers, heads, keep):
    return cut(layers, places(keep), ("query", "key"))


@wrong("remove_heads", "the list of those that stay, taken for those that go")
def _(layers, heads, keep):
    return cut(layers, places(rest(keep, heads)))


@wrong("remove_heads", "not the layers that were asked for")
def _(layers, heads, keep):
    return cut(layers, places(keep))["query"]


@wrong("remove_heads", "the input is changed in place")
def _(layers, heads, keep):
    for name in ("query", "key", "value"):
        layers[name].weight.data = layers[name].weight.data[places(keep)]
    return layers


@right("remove_heads")
def listed(layers, heads, keep):
    return cut(layers, places(keep, layers["query"].out_features // heads))


@right("remove_heads")
def viewed_by_head(layers, heads, keep):
    layers = copy.deepcopy(layers)
    for name in ("query", "key", "value"):
        weight, bias = layers[name].weight.data, layers[name].bias.data
        layers[name].weight.data = weight.view(heads, -1, weight.shape[1])[keep].flatten(0, 1)
        layers[name].bias.data = bias.view(heads, -1)[keep].flatten()
    weight = layers["output"].weight.data
    layers["output"].weight.data = weight.view(len(weight), heads, -1)[:, keep].flatten(1)
    return layers


@right("remove_heads")
def bool_mask(layers, heads, keep):
    size = layers["query"].out_features // heads
    return cut(layers, torch.isin(torch.arange(heads), torch.tensor(keep)).repeat_interleave(size))


@right("remove_heads")
def slices_joined(layers, heads, keep):
    size = layers["key"].out_features // heads
    rows = torch.cat([torch.arange(head * size, (head + 1) * size) for head in keep])
    return cut(layers, rows)


@right("remove_heads")
def chunks(layers, heads, keep):
    new = {}
    for name in ("query", "key", "value"):
        weights, biases = layers[name].weight.chunk(heads), layers[name].bias.chunk(heads)
        new[name] = linear(
            torch.cat([weights[k] for k in keep]), torch.cat([biases[k] for k in keep])
        )
    columns = layers["output"].weight.chunk(heads, dim=1)
    return new | {"output": linear(torch.cat([columns[k] for k in keep], 1), layers["output"].bias)}


@right("remove_heads")
def by_transformers(layers, heads, keep):
    rows = torch.tensor(places(keep))
    return {
        name: prune_linear_layer(layer, rows, dim=int(name == "output"))
        for name, layer in layers.items()
    }


@right("remove_heads")
def in_order(layers, heads, keep):
    result = listed(layers, heads, keep)
    return tuple(result[name] for name in ("query", "key", "value", "output"))


@right("remove_heads")
def module_dict(layers, heads, keep):
    return nn.ModuleDict(listed(layers, heads, keep))


@right("remove_heads")
def true_sizes(layers, heads, keep):
    layers = listed(layers, heads, keep)
    for layer in layers.values():
        layer.out_features, layer.in_features = layer.weight.shape
    return layers


@right("remove_heads")
def by_einsum(layers, heads, keep):
    chosen = torch.eye(heads)[keep].kron(torch.eye(2))  # [kept, all]
    new = {
        name: linear(
            torch.einsum("ka,ai->ki", chosen, layers[name].weight), chosen @ layers[name].bias
        )
        for name in ("query", "key", "value")
    }
    output = layers["output"]
    return new | {"output": linear(torch.einsum("oa,ka->ok", output.weight, chosen), output.bias)}


RIGHT["remove_heads"] |= layers_in_other_clothes(listed)


# --- 5 · head_importance --------------------------------------------------------------------------


@wrong("head_importance", "no absolute value")
def _(answers, gradients, parameters):
    return torch.einsum("ethn,ethn->h", answers, gradients) / len(answers) / parameters


@wrong("head_importance", "averaged first, then the absolute value")
def _(answers, gradients, parameters):
    return torch.einsum("ethn,ethn->h", answers, gradients).abs() / len(answers) / parameters


@wrong("head_importance", "the sum over the examples for their mean")
def _(answers, gradients, parameters):
    return sum((a * g).sum((0, 2)).abs() for a, g in zip(answers, gradients)) / parameters  # noqa: B905


@wrong("head_importance", "the absolute value of each number")
def _(answers, gradients, parameters):
    return (answers * gradients).abs().sum(dim=(1, 3)).mean(dim=0) / parameters


@wrong("head_importance", "the absolute value of each token")
def _(answers, gradients, parameters):
    return (answers * gradients).sum(-1).abs().sum(1).mean(0) / parameters


@wrong("head_importance", "the gradient without the answer")
def _(answers, gradients, parameters):
    return gradients.sum((1, 3)).abs().mean(0) / parameters


@wrong("head_importance", "the answer without the gradient")
def _(answers, gradients, parameters):
    return answers.sum((1, 3)).abs().mean(0) / parameters


@wrong("head_importance", "not divided by the parameters")
def _(answers, gradients, parameters):
    return torch.einsum("ethn,ethn->eh", answers, gradients).abs().mean(0)


@wrong("head_importance", "a mean over the head's numbers and tokens, too")
def _(answers, gradients, parameters):
    return (answers * gradients).mean(3).mean(1).abs().mean(0) / parameters


@wrong("head_importance", "the square for the absolute value")
def _(answers, gradients, parameters):
    return ((answers * gradients).sum((1, 3)) ** 2).mean(0) / parameters


@wrong("head_importance", "shares of the layer's importance")
def _(answers, gradients, parameters):
    score = (answers * gradients).sum((1, 3)).abs().mean(0) / parameters
    return score / score.sum()


@wrong("head_importance", "the input is changed in place")
def _(answers, gradients, parameters):
    answers *= gradients
    return answers.sum((1, 3)).abs().mean(0) / parameters


@right("head_importance")
def vectorised(answers, gradients, parameters):
    return (answers * gradients).sum((1, 3)).abs().mean(0) / parameters


@right("head_importance")
def importance_by_einsum(answers, gradients, parameters):
    return torch.einsum("ethn,ethn->eh", answers, gradients).abs().mean(0) / parameters


@right("head_importance")
def python_loops(answers, gradients, parameters):
    examples, tokens, heads, numbers = answers.shape
    result = []
    for h in range(heads):
        total = 0.0
        for e in range(examples):
            gate = 0.0
            for t in range(tokens):
                for n in range(numbers):
                    gate += answers[e, t, h, n].item() * gradients[e, t, h, n].item()
            total += abs(gate)
        result.append(total / examples / parameters)
    return result


@right("head_importance")
def head_by_head(answers, gradients, parameters):
    pairs = zip(answers.unbind(2), gradients.unbind(2), strict=True)
    return torch.stack([(a * g).flatten(1).sum(1).abs().mean() for a, g in pairs]) / parameters


@right("head_importance")
def matrix_products(answers, gradients, parameters):
    a, g = (x.transpose(1, 2).flatten(2) for x in (answers, gradients))
    return (a.unsqueeze(2) @ g.unsqueeze(3)).flatten(1).abs().mean(0) / parameters


@right("head_importance")
def autograd_of_a_gate(answers, gradients, parameters):
    gate = torch.ones(len(answers), 1, answers.shape[2], 1, requires_grad=True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad((answers * gate), gate, gradients)
    return gradient.flatten(1).abs().mean(0) / parameters


@right("head_importance")
def numpys(answers, gradients, parameters):
    gates = (answers.numpy() * gradients.numpy()).sum(axis=(1, 3))
    return np.abs(gates).mean(axis=0) / parameters


@right("head_importance")
def divided_first(answers, gradients, parameters):
    share = answers * gradients / (parameters * len(answers))
    return share.sum((1, 3)).abs().sum(0)


RIGHT["head_importance"] |= {
    name: answer
    for name, answer in other_clothes(vectorised).items()
    if name != "overwritten copies"
}


# --- 6 · set_sizes_ -------------------------------------------------------------------------------


@wrong("set_sizes_", "the tensors are other ones")
def _(module):
    for name, layer in list(module.named_children()):
        if isinstance(layer, nn.Conv2d):
            out, into, *size = layer.weight.shape
            setattr(module, name, nn.Conv2d(into, out, size))


@wrong("set_sizes_", "the numbers are as stale as before")
def _(module):
    return honest(copy.deepcopy(module))


@wrong("set_sizes_", "in and out are swapped")
def _(module):
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.in_features, layer.out_features = layer.weight.shape
        elif isinstance(layer, nn.Conv2d):
            layer.in_channels = layer.weight.shape[0]
            layer.out_channels = layer.weight.shape[1] * layer.groups
        elif isinstance(layer, nn.BatchNorm2d):
            layer.num_features = layer.weight.shape[0]


@wrong("set_sizes_", "only what a layer computes, not what it reads")
def _(module):
    for layer in module.modules():
        for name in ("out_channels", "out_features", "num_features"):
            if hasattr(layer, name):
                setattr(layer, name, len(layer.weight))


@wrong("set_sizes_", "the batch norms are forgotten")
def _(module):
    numbers = [(m, m.num_features) for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    honest(module)
    for layer, number in numbers:
        layer.num_features = number


@wrong("set_sizes_", "the linear layers are forgotten")
def _(module):
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            honest(layer)


@wrong("set_sizes_", "the groups are forgotten")
def _(module):
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.Conv2d):
            layer.out_channels, layer.in_channels = layer.weight.shape[:2]
        elif isinstance(layer, nn.BatchNorm2d):
            layer.num_features = layer.weight.numel()


@wrong("set_sizes_", "layers inside a block are missed")
def _(module):
    for layer in module.children():
        if not isinstance(layer, nn.Sequential):
            honest(layer)


@right("set_sizes_")
def honest(module):
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.Conv2d):
            layer.out_channels = layer.weight.shape[0]
            layer.in_channels = layer.weight.shape[1] * layer.groups
        elif isinstance(layer, nn.BatchNorm2d):
            layer.num_features = layer.weight.shape[0]


@right("set_sizes_")
def recursion(module):
    if not list(module.children()):
        honest(module)
    for child in module.children():
        recursion(child)


@right("set_sizes_")
def by_names(module):
    for _, layer in module.named_modules():
        match type(layer).__name__:
            case "Conv2d":
                layer.in_channels = layer.weight.size(1) * layer.groups
                layer.out_channels = layer.weight.size(0)
            case "BatchNorm2d":
                layer.num_features = layer.running_mean.numel()
            case "Linear":
                layer.in_features, layer.out_features = layer.weight.T.shape


@right("set_sizes_")
def applied(module):
    module.apply(lambda layer: honest(layer) if not list(layer.children()) else None)


@right("set_sizes_")
def by_attribute(module):
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        for name in ("out_channels", "out_features", "num_features"):
            if hasattr(layer, name):
                setattr(layer, name, len(weight))
        for name in ("in_channels", "in_features"):
            if hasattr(layer, name):
                setattr(layer, name, weight.shape[1] * getattr(layer, "groups", 1))


@right("set_sizes_")
def by_dict(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            vars(layer)["num_features"] = len(layer.bias)
        elif isinstance(layer, nn.Linear):
            vars(layer).update(in_features=layer.weight.shape[1], out_features=len(layer.bias))
        elif isinstance(layer, nn.Conv2d):
            into = layer.groups * layer.weight[0].shape[0]
            vars(layer).update(in_channels=into, out_channels=len(layer.bias))


@right("set_sizes_")
def by_state_dict(module):
    for name, tensor in module.state_dict().items():
        path, _, what = name.rpartition(".")
        if what == "weight":
            layer = module.get_submodule(path)
            if tensor.dim() == 4:
                layer.out_channels, layer.in_channels = len(tensor), tensor.shape[1] * layer.groups
            elif tensor.dim() == 2:
                layer.out_features, layer.in_features = tensor.shape
            else:
                layer.num_features = len(tensor)


@right("set_sizes_")
def numpy_integers(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.num_features = np.int64(len(layer.weight))
        else:
            honest(layer) if hasattr(layer, "weight") else None


@right("set_sizes_")
def a_stack(module):
    stack = [module]
    while stack:
        layer = stack.pop()
        stack += layer.children()
        if hasattr(layer, "weight"):
            honest(layer)


@right("set_sizes_")
def three_loops(module):
    for layer in filter(lambda m: isinstance(m, nn.Conv2d), module.modules()):
        honest(layer)
    for layer in filter(lambda m: isinstance(m, nn.BatchNorm2d), module.modules()):
        honest(layer)
    for layer in filter(lambda m: isinstance(m, nn.Linear), module.modules()):
        honest(layer)


@right("set_sizes_")
def returns_the_module(module):
    honest(module)
    return module


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exercise", "mistake", "answer"), WRONG, ids=short)
def test_a_plausible_wrong_answer_is_named(exercise, mistake, answer):
    with pytest.raises(checks.WrongAnswerError) as caught:
        getattr(checks, exercise)(answer)
    assert caught.value.mistake == mistake
    assert len(str(caught.value).splitlines()) <= 16  # it fits on one screen


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
    assert len(named) >= 5
    assert len(RIGHT[exercise]) >= 10


# --- 7 · the challenge ----------------------------------------------------------------------------

WHOLE = models.build(models.SmallCNN)


def narrower(share: float, model: nn.Module = WHOLE) -> nn.Module:
    return surgery.remove(model, structured.choose(model, share, per_group=True))


def by_hand() -> nn.Module:
    model = copy.deepcopy(WHOLE)
    few = list(range(24))
    model.conv2, model.bn2, _ = narrow(model.conv2, model.bn2, nn.Conv2d(64, 1, 1), few)
    model.fc1.weight.data = model.fc1.weight.data[:, : 24 * 49]
    return model


def sped_up() -> SpedUp:
    row = Latency(1.0, 1.0, 1.0, batch=1, threads=1)
    smaller = narrower(0.3)
    return SpedUp(smaller, 2, 2.0, row, row, surgery.changes(WHOLE, smaller))


def with_true_numbers(model: nn.Module) -> nn.Module:
    honest(model)
    return model


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make every network this accurate: training one would take the tests too long."""
    return lambda accuracy: monkeypatch.setattr(lesson2, "_heldout", lambda model: accuracy)


@pytest.mark.parametrize(
    ("mistake", "answer", "accuracy"),
    [
        ("the result of `fit` for its network", lambda: Fitted(narrower(0.3), [], 1), 0.97),
        ("the result of `speed_up` for its network", sped_up, 0.97),
        ("another network", lambda: models.build(models.LeNet300), 0.97),
        ("its layers do not say their true sizes", by_hand, 0.97),
        ("zeros are multiplied, too", lambda: pruning.prune(WHOLE, 0.9), 0.97),
        (
            "half of the parameters for half of the work",
            lambda: structured.prune(WHOLE, 0.6, names=["fc1"]),
            0.97,
        ),
        ("more must go", lambda: WHOLE, 0.97),
        ("more must go", lambda: narrower(0.1), 0.5),
        ("cut, and never recovered", lambda: narrower(0.5), 0.62),
        ("a little below the bar", lambda: narrower(0.3), 0.949),
    ],
)
def test_the_challenge_says_what_is_missing(bar, mistake, answer, accuracy):
    bar(accuracy)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.twice_as_fast(answer())
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    "answer",
    [
        lambda: narrower(0.3),
        lambda: narrower(0.9),
        lambda: narrower(0.3).train(),
        lambda: narrower(0.3).requires_grad_(False),
        lambda: narrower(0.4, narrower(0.3)),
        lambda: copy.deepcopy(narrower(0.5)),
        lambda: surgery.remove(WHOLE, {"conv2": range(0, 64, 3)}),
        lambda: surgery.remove(WHOLE, {"conv1": range(8), "conv2": range(48)}),
        lambda: structured.prune(WHOLE, 0.9),
        lambda: with_true_numbers(by_hand()),
        lambda: pruning.prune(narrower(0.3), 0.5),
    ],
)
def test_the_challenge_takes_any_way_to_halve_the_work(bar, answer, capsys):
    bar(0.96)
    checks.twice_as_fast(answer())
    said = " ".join(capsys.readouterr().out.split())
    assert "its share of operations 0." in said
    assert "accuracy on the held-out pictures 0.96" in said


def test_the_challenge_looks_at_the_test_part(monkeypatch):
    """The real look, on a few pictures: a fresh network guesses."""
    pictures = TensorDataset(torch.zeros(10, 1, 28, 28), torch.arange(10))
    monkeypatch.setattr(data, "mnist", lambda: {"test": pictures})
    with pytest.raises(checks.WrongAnswerError, match="held-out pictures") as caught:
        checks.twice_as_fast(narrower(0.3))
    assert caught.value.mistake == "cut, and never recovered"


def test_half_of_the_parameters_is_not_half_of_the_work():
    """What the challenge turns on."""
    fewer = structured.prune(WHOLE, 0.5, names=["fc1"])
    assert lesson2._parameters(fewer) <= 0.5 < 0.9 < lesson2._work(fewer)
