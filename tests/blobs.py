"""Small data and networks that train in a moment, for the tests of training and evaluation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from course_lib.training.recipe import Recipe

RECIPE = Recipe(epochs=5, lr=0.01, batch_size=8, weight_decay=0.01, warmup=0.1, decay=True)


def blobs(n: int, seed: int = 0) -> TensorDataset:
    """Two overlapping clouds of points in four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    return TensorDataset(torch.randn(n, 4, generator=generator) + labels[:, None], labels)


DATA = {"train": blobs(60), "validation": blobs(40, seed=1)}


def net() -> nn.Module:
    """Small, and with all that could make two runs differ: dropout and running statistics."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)
    )


def same(a: nn.Module | dict[str, Tensor], b: nn.Module | dict[str, Tensor]) -> bool:
    one, two = (m.state_dict() if isinstance(m, nn.Module) else m for m in (a, b))
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


class Scripted(nn.Module):
    """Answers label 1 where x > t: after_step sets t, and with it the accuracy of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x), x - self.t], dim=1)


SCRIPT = [3, 9, 5, 7, 7, 6]  # correct answers of 10, epoch by epoch


def ten() -> TensorDataset:
    """The numbers from 1 to 10, all with label 1."""
    return TensorDataset(torch.arange(1.0, 11)[:, None], torch.ones(10, dtype=torch.long))
