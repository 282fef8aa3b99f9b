"""A unit and what it owns: the parts of tensors that are removed with a neuron, channel or head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Slice:
    """The places in one tensor that belong to the units of a group.

    Along `dim`, from `offset` on, lie `repeats` runs of all units, each unit as `unit_size` neighbors:
    1 for neurons, the size of a head for heads, the pixels of a channel behind a flatten. GPT-2 keeps
    query, key and value as three repeats in one matrix. What lies elsewhere belongs to other units.
    `is_input`: the tensor's module consumes the units; else it produces or scales them.
    """

    module: str
    tensor: str
    dim: int = 0
    unit_size: int = 1
    repeats: int = 1
    is_input: bool = False
    offset: int = 0

    def tensor_in(self, model: nn.Module) -> Any:
        """The whole tensor."""
        return getattr(model.get_submodule(self.module), self.tensor)

    def indices(self, kept: Tensor, units: int) -> Tensor:
        """Where the units `kept` ``[k]`` lie along `dim`: ``[repeats · k · unit_size]``."""
        block = torch.arange(self.repeats, device=kept.device)[:, None, None] * units
        within = torch.arange(self.unit_size, device=kept.device)
        return self.offset + ((block + kept[:, None]) * self.unit_size + within).flatten()


@dataclass(frozen=True)
class Group:
    """All units of one place in a network, and the slices that they own. Explained in lesson 2."""

    name: str
    kind: str  # "neurons", "channels", "heads" or "feed-forward units"
    units: int
    slices: tuple[Slice, ...]
    # (module, attribute, size of one unit) of numbers that modules keep beside their tensors
    counts: tuple[tuple[str, str, int], ...] = field(default=(), repr=False)
    inexact: str = ""  # why the units that stay change when others go

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules that lose something, each once.

        Example:
            >>> Group("0", "neurons", 4, (Slice("0", "weight"), Slice("0", "bias"))).modules
            ('0',)
        """
        return tuple(dict.fromkeys(piece.module for piece in self.slices))
