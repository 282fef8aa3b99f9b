"""Tensors without some units, and the modules around them in their true sizes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from course_lib.structured.units import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED, Group, Slice

Chosen = Sequence[tuple[Group, Tensor]]  # each group with the units that stay, ascending


def cut(model: nn.Module, chosen: Chosen, share_tensors: bool = False) -> Any:
    """A copy that has only these units of these groups."""
    # id of a tensor → what deepcopy uses in its place
    smaller: dict[int, Any] = {id(p): p for p in model.parameters()} if share_tensors else {}
    owned: dict[tuple[str, str, int], list[tuple[Slice, Group, Tensor]]] = {}
    for group, units in chosen:
        for piece in group.slices:
            place = piece.module, piece.tensor, piece.dim
            owned.setdefault(place, []).append((piece, group, units.cpu()))
    for (module, name, dim), pieces in owned.items():
        old = getattr(model.get_submodule(module), name)
        new = smaller.get(id(old), old).detach()
        new = new.index_select(dim, _stays(pieces, old.shape[dim]).to(old.device))
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old.requires_grad)
        smaller[id(old)] = new
    result = copy.deepcopy(model, smaller)
    for group, units in chosen:
        for piece in group.slices:
            _update_sizes(result.get_submodule(piece.module), model.get_submodule(piece.module))
        for module, attribute, size in group.counts:
            setattr(result.get_submodule(module), attribute, len(units) * size)
    return result


def zeroed(model: nn.Module, chosen: Chosen) -> dict[str, Tensor]:
    """Copies of the weights that read the other units, with zeros there, by name."""
    weights: dict[str, Tensor] = {}
    for group, units in chosen:
        gone = torch.ones(group.units, dtype=torch.bool).index_fill(0, units.cpu(), False)
        for piece in (piece for piece in group.slices if piece.is_input):
            name = f"{piece.module}.{piece.tensor}".lstrip(".")
            weight = weights.get(name, piece.tensor_in(model).detach())
            places = piece.indices(gone.nonzero().flatten(), group.units).to(weight.device)
            weights[name] = weight.index_fill(piece.dim, places, 0.0)
    return weights


def _stays(pieces: Iterable[tuple[Slice, Group, Tensor]], size: int) -> Tensor:
    """The places that stay along one dimension; what no piece covers stays whole.

    It takes as much memory as what stays: how wide the model was may come from a stranger's file.
    """
    parts, end = [], 0
    for piece, group, units in sorted(pieces, key=lambda p: p[0].offset):
        parts += [torch.arange(end, piece.offset), piece.indices(units, group.units)]
        end = piece.offset + piece.repeats * piece.unit_size * group.units
    return torch.cat([*parts, torch.arange(end, size)])


def _update_sizes(module: Any, before: Any) -> None:
    """A module's attributes follow its tensors."""
    tensors = (getattr(module, name, None) for name in ("weight", "running_mean"))
    shape: Any = next((tensor.shape for tensor in tensors if tensor is not None), ())
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = shape
    elif isinstance(module, Conv1D):
        module.nx, module.nf = shape
    elif isinstance(module, TRANSPOSED):
        module.in_channels, module.out_channels = shape[:2]
    elif isinstance(module, CONVOLUTIONS):
        if before.groups == before.in_channels == before.out_channels > 1:  # depthwise
            module.groups = shape[0]
        module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
    elif isinstance(module, nn.PReLU):
        module.num_parameters = shape[0]
    elif isinstance(module, BATCH_NORMS):
        module.num_features = shape[0]
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        module.normalized_shape = tuple(shape)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = shape[0]
