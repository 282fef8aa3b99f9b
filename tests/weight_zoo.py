"""What the tests of pruning share: layers with given weights, and how many of them are pruned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.pruning.masks import Masks
from course_lib.pruning.scores import Score


def layers_of(*weights: Tensor) -> nn.Sequential:
    """Linear layers with these weights."""
    layers = [nn.Linear(weight.shape[1], weight.shape[0], bias=False) for weight in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.data = weight.clone()
    return nn.Sequential(*layers)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pruned(masks: Masks) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


def flat(masks: Masks) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks.values()])


def fixed(values: Tensor) -> Score:
    """A score that gives these values, whatever the weights are."""
    return lambda layer, weight: values
