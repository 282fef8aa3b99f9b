"""A unit and what it owns: which places of which tensors go when a neuron, channel or head goes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Slice:
    """The places in one tensor that belong to the units of a group.

    Along `dim` there are `blocks` runs of all units, each unit being `spread` neighbours: 1 for
    neurons, the head's size for heads, a channel's pixels behind a flatten; GPT-2 keeps query, key
    and value in three blocks of one matrix. `reads` tells what takes the unit's answer as its input
    from what computes it.
    """

    module: str
    tensor: str
    dim: int = 0
    spread: int = 1
    blocks: int = 1
    reads: bool = False

    def indices(self, kept: Tensor, units: int) -> Tensor:
        """Where the units `kept` ``[k]`` lie along `dim`: ``[blocks · k · spread]``."""
        block = torch.arange(self.blocks, device=kept.device)[:, None, None] * units
        within = torch.arange(self.spread, device=kept.device)
        return ((block + kept[:, None]) * self.spread + within).flatten()


@dataclass(frozen=True)
class Group:
    """All units of one place in a network, and the slices that they own. Explained in lesson 2."""

    name: str
    kind: str  # "neurons", "channels", "heads" or "feed-forward units"
    units: int
    slices: tuple[Slice, ...]
    # (module, attribute, size of one unit) of numbers that modules keep beside their tensors
    counts: tuple[tuple[str, str, int], ...] = field(default=(), repr=False)
