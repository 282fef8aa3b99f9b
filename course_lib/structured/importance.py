"""Scores of units; the units with the lowest score are removed first. Explained in lesson 2."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from course_lib.batching import batches, labels
from course_lib.modules import device_of, evaluating, forward, release_memory
from course_lib.structured.dependency import groups
from course_lib.structured.units import CONVOLUTIONS, TRANSPOSED, Group, Slice
from course_lib.training.recipe import Loss, cross_entropy

Score = Callable[[nn.Module, Group], Tensor]  # one number for each unit of the group


def weight_norm(model: nn.Module, group: Group) -> Tensor:
    """The L2 norm of the weights that compute a unit (Li et al. 2017, section 3.1, use L1).

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        >>> weight_norm(net, groups(net)["0"])
        tensor([5., 1.])
    """
    total = torch.zeros(group.units)
    for piece in group.slices:
        weight = piece.tensor_in(model)
        if not piece.is_input and weight.ndim > 1:
            squares = weight.detach().square().movedim(piece.dim, 0)
            places = piece.indices(torch.arange(group.units, device=weight.device), group.units)
            units = squares[places].reshape(piece.repeats, group.units, piece.unit_size, -1)
            total += units.sum((0, 2, 3)).cpu()
    return total.sqrt()


def random_score(seed: int = 0) -> Score:
    """The random baseline that every score has to beat. The same seed gives the same units.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
        >>> random_score(seed=1)(net, groups(net)["0"]).shape
        torch.Size([4])
    """

    def score(model: nn.Module, group: Group) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {group.name}".encode()))
        return torch.rand(group.units, generator=generator)

    return score


def gate_taylor(
    model: nn.Module, dataset: Dataset, loss: Loss | None = None, size: int = 32
) -> Score:
    """How much the loss changes when a unit is removed, to first order: mean |∂loss/∂gate|.

    The output of every unit is multiplied by a gate of 1, and the size of the gate's gradient is
    averaged over the examples (Michel, Levy & Neubig 2019, equation 2). One pass gives all units.

    Args:
        model: it is left alone.
        dataset: some hundred training examples; never the test set.
        loss: a mean over the batch; cross-entropy with the labels by default.
        size: examples in a batch (default 32). It changes no score: a large model needs less memory
            with fewer.

    Raises:
        ValueError: no examples; or the score is used on a group that was not there, or had another
            width.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> examples = torch.utils.data.TensorDataset(torch.eye(2), torch.tensor([0, 1]))
        >>> gate_taylor(net, examples)(net, groups(net)["0"]).shape
        torch.Size([3])
    """
    loss = loss or cross_entropy
    all_groups = groups(model, exact=False)
    totals = {name: torch.zeros(group.units) for name, group in all_groups.items()}
    examples = 0
    with evaluating(model), torch.enable_grad():
        for batch in batches(dataset, size, device=device_of(model)):
            n = len(labels(batch))
            with _gates(model, all_groups.values(), n) as gates:
                value = loss(forward(model, batch), batch)
            gradients = torch.autograd.grad(n * value, [gate for gate, _ in gates])
            per_example: dict[str, Tensor] = {}  # [n, units]
            for (_, group), gradient in zip(gates, gradients, strict=True):
                # One gate for the whole unit: the gradients of its parts add up.
                per_unit = gradient.sum((1, 3))
                per_example[group.name] = per_example.get(group.name, 0) + per_unit  # type: ignore
            for name, gradient in per_example.items():
                totals[name] += gradient.abs().sum(0).cpu()
            examples += n

    release_memory()

    def score(model: nn.Module, group: Group) -> Tensor:
        if len(totals.get(group.name, ())) != group.units:
            raise ValueError(
                f"gate_taylor has not seen {group.name!r} with {group.units} units; make the score "
                "anew for the model that you prune."
            )
        return totals[group.name] / examples

    return score


@contextmanager
def _gates(
    model: nn.Module, all_groups: Iterable[Group], n: int
) -> Iterator[list[tuple[Tensor, Group]]]:
    """Multiply the input of each consumer by ones ``[n, channels]``, and yield these gates."""
    gates: list[tuple[Tensor, Group]] = []

    def gate(group: Group, piece: Slice) -> Callable[[nn.Module, Any], Any]:
        def hook(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x = inputs[0]
            maps = isinstance(
                module, (*CONVOLUTIONS, *TRANSPOSED)
            )  # channels come second, else last
            # A grouped convolution has one row of weights for the inputs of all its groups.
            repeats = piece.repeats * getattr(module, "groups", 1)
            ones = x.new_ones(n, repeats, group.units, piece.unit_size, requires_grad=True)
            gates.append((ones, group))
            inner, width = [1] * (x.ndim - 2), x.shape[1 if maps else -1]
            others = width - piece.offset - ones[0].numel()
            whole = [x.new_ones(n, piece.offset), ones.flatten(1), x.new_ones(n, others)]
            shape = [n, -1, *inner] if maps else [n, *inner, -1]
            return (x * torch.cat(whole, 1).view(shape), *inputs[1:])

        return hook

    hooks = [
        model.get_submodule(piece.module).register_forward_pre_hook(gate(group, piece))
        for group in all_groups
        for piece in group.slices
        if piece.is_input
    ]
    try:
        yield gates
    finally:
        for hook in hooks:
            hook.remove()
