"""Checks for the exercises of lesson 1, pruning basics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.checks.checking import Check, Mistake, call
from course_lib.masking import sparsity as real_sparsity

# --- 1 · the sparsity of a module -----------------------------------------------------------------


def _nested() -> nn.Module:
    """Nine weights, five of them zero; four biases, two of them zero."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    values = [[[0, -1], [-2, 0], [3, 0]], [0, 1, 2], [[0, 0, 0.001]], [0]]
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float32)
    return net


def _convolution() -> nn.Module:
    """A convolution with three of four weights zero, a linear layer with none of two."""
    net = nn.Sequential(nn.Conv2d(1, 1, 2), nn.Flatten(), nn.Linear(1, 2))
    values = [[[[[0, 0], [3, 0]]]], [1], [[1], [-1]], [1, 1]]
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float32).view(parameter.shape)
    return net


def _weights(module: nn.Module, kinds: type | tuple[type, ...] = (nn.Linear, nn.Conv2d)) -> list:
    return [m.weight.detach() for m in module.modules() if isinstance(m, kinds)]


def _zeros(tensors: list[Tensor]) -> float:
    return sum(int((t == 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


sparsity = Check(
    name="sparsity",
    right=real_sparsity,
    tries={
        "nine weights in two linear layers, one of them inside a block, five weights are zero": call(
            _nested()
        ),
        "a convolution with 3 zeros among 4 weights, a linear layer with none among 2": call(
            _convolution()
        ),
    },
    mistakes=(
        Mistake(
            "biases are counted, too",
            "Sparsity speaks of the weights. A bias is one number in a whole row, is hardly ever "
            "pruned, and would shift your share.",
            lambda module: _zeros(list(module.parameters())),
        ),
        Mistake(
            "the share of what is left (the density)",
            "Sparsity counts the zeros; 90 % sparse means that a tenth is left. You have 1 minus it.",
            lambda module: 1 - real_sparsity(module),
        ),
        Mistake(
            "the mean of the layers' sparsities",
            "A layer of 10 weights then counts as much as one of 200,000. Add up zeros and weights "
            "over all layers, and divide once.",
            lambda module: sum(_zeros([w]) for w in _weights(module)) / len(_weights(module)),
        ),
        Mistake(
            "percent for a fraction",
            "In this course an amount and a sparsity lie between 0 and 1, so that they can be "
            "compared and multiplied.",
            lambda module: 100 * real_sparsity(module),
        ),
        Mistake(
            "the number of zeros, not their share",
            "Five zeros are much among nine weights and nothing among a million. Divide by the "
            "number of weights.",
            lambda module: sum(int((w == 0).sum()) for w in _weights(module)),
        ),
        Mistake(
            "layers inside a block are missed",
            "children() goes one step down only. Real networks have blocks inside blocks; modules() "
            "walks through all of them.",
            lambda module: _zeros(
                [m.weight for m in module.children() if isinstance(m, nn.Linear | nn.Conv2d)]
            ),
        ),
        Mistake(
            "small weights counted as zeros",
            "A weight of 0.001 is small, but it is multiplied and stored like any other. Only an "
            "exact 0 is pruned.",
            lambda module: _zeros([w * (w.abs() > 0.01) for w in _weights(module)]),
        ),
        Mistake(
            "negative weights counted as zeros",
            "`<= 0` catches half of all weights of a trained network. Compare with == 0.",
            lambda module: _zeros([w.clamp(min=0) for w in _weights(module)]),
        ),
        Mistake(
            "convolutions are left out",
            "In most networks for pictures the convolutions hold what can be pruned.",
            lambda module: _zeros(_weights(module, nn.Linear)),
        ),
    ),
    checked="linear layers and a convolution, one inside a block; biases left out",
    not_checked="embeddings and norms, masks that are still attached",
)
