"""The functions that a lesson's gaps ask for: `fill_in.check` compares a learner's own with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import pruning, quantization


def magnitude_mask(weight: Tensor, amount: float) -> Tensor:
    """A mask like `weight` [out, in]: False for the smallest magnitudes (lesson 1, section 2).

    Example:
        >>> magnitude_mask(torch.tensor([[0.9, -0.1]]), 0.5)
        tensor([[ True, False]])
    """
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data = weight
    return pruning.global_masks(layer, amount)[""]  # "" is the name of the layer itself


def masked_linear(x: Tensor, original: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
    """x [n, in], original and mask [out, in], bias [out] → output [n, out] (lesson 1, section 4).

    Example:
        >>> one = torch.ones(1, 2)
        >>> masked_linear(one, 3 * one, torch.tensor([[True, False]]), torch.zeros(1))
        tensor([[3.]])
    """
    return F.linear(x, original * mask, bias)


def remove_neurons(
    w1: Tensor, b1: Tensor, w2: Tensor, keep: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """w1 [hidden, in], b1 [hidden], w2 [out, hidden] → the three with the neurons `keep` alone
    (lesson 2a, section 2).

    Example:
        >>> three = remove_neurons(torch.ones(3, 4), torch.ones(3), torch.ones(2, 3), [0])
        >>> [tuple(one.shape) for one in three]
        [(1, 4), (1,), (2, 1)]
    """
    stay = torch.as_tensor(keep)
    return w1.index_select(0, stay), b1.index_select(0, stay), w2.index_select(1, stay)


def cut_sum(
    first: Tensor, second: Tensor, readers: Sequence[Tensor], keep: Sequence[int]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Two convolutions whose outputs are added, [channels, in, 3, 3], and those that read the sum,
    [out, channels, 3, 3] → all of them with the channels `keep` alone (lesson 2a, section 4).

    Example:
        >>> conv = torch.ones(3, 3, 3, 3)
        >>> first, second, (reader,) = cut_sum(conv, conv, [conv], [0, 2])
        >>> first.shape[0], second.shape[0], reader.shape[:2]
        (2, 2, torch.Size([3, 2]))
    """
    stay = torch.as_tensor(keep)
    read = [reader.index_select(1, stay) for reader in readers]
    return first.index_select(0, stay), second.index_select(0, stay), read


def rounded_row(row: Tensor, bits: int) -> Tensor:
    """A row of weights [columns] → the row after it was stored in so many bits (lesson 5, section 3).

    Example:
        >>> rounded_row(torch.tensor([1.0, 0.4, -0.6]), 2)  # -1, 0 and 1 times the scale
        tensor([ 1.,  0., -1.])
    """
    layer = nn.Linear(len(row), 1, bias=False)
    layer.weight.data = row[None].clone()
    rounded: Tensor = quantization.fake_quantize(layer, bits).get_parameter("weight")
    return rounded.detach()[0]


def nearest_table(table: Tensor, rank: int) -> Tensor:
    """A table [words, width] → the nearest one of this rank, of the same shape (lesson 5, section 4).

    Example:
        >>> nearest_table(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2).round().diag()
        tensor([3., 2., 0.])
    """
    u, s, v = torch.linalg.svd(table, full_matrices=False)
    s = torch.where(torch.arange(len(s)) < rank, s, 0)
    return u @ torch.diag(s) @ v


def student_megabytes(tokens: int, layers: int, width: float) -> float:
    """MiniLM with so many tokens and layers, and this share of heads and neurons → megabytes at one
    byte a weight, without biases (lesson 6, section 2).

    Example:
        >>> student_megabytes(12_000, layers=3, width=0.25)
        5.935104
    """
    hidden, neurons = 384, 1536
    layer = 4 * hidden * hidden + 2 * hidden * neurons
    return (tokens * hidden + layers * width * layer) / 1e6


def change_interval(b: int, c: int, n: int) -> tuple[float, float]:
    """Test texts that only the teacher (b) and only the student (c) gets right, and all (n) → the 95 %
    interval of the change of the accuracy, as fractions (lesson 6, section 6).

    Example:
        >>> low, high = change_interval(20, 10, 200)
        >>> f"{low:.3f} to {high:.3f}"
        '-0.103 to 0.003'
    """
    change = (c - b) / n
    half = 1.96 * (b + c - (c - b) ** 2 / n) ** 0.5 / n
    return change - half, change + half


def perplexity_of(logits: Tensor, ids: Tensor) -> float:
    """logits [length, vocabulary], ids [length] → the perplexity (lesson 7, section 1).

    Example:
        >>> round(perplexity_of(torch.zeros(3, 10), torch.tensor([4, 7, 1])), 3)
        10.0
    """
    return float(F.cross_entropy(logits[:-1], ids[1:]).exp())


def wanda_mask(weight: Tensor, norms: Tensor, amount: float) -> Tensor:
    """weight [rows, inputs], norms [inputs] → False where a weight goes (lesson 7, section 5).

    Example:
        >>> wanda_mask(torch.tensor([[0.5, -0.9]]), torch.tensor([4.0, 0.5]), 0.5)
        tensor([[ True, False]])
    """
    lowest = (weight.abs() * norms).argsort(1)[:, : round(amount * weight.shape[1])]
    return torch.ones_like(weight, dtype=torch.bool).scatter(1, lowest, False)
