"""Removing units for good: tensors become smaller, and the model still answers as if they were masked.

Nothing here decides *what* to remove; `structured` does. Explained in lesson 2.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from course_lib.groups import family_of, groups, groups_of, layers_of
from course_lib.units import BATCH_NORMS, CONVOLUTIONS, Group, Slice

Keep = Mapping[str, Sequence[int] | Tensor]  # group → the units that stay


def remove(model: nn.Module, keep: Keep, *, share: bool = False) -> nn.Module:
    """A copy of the model that has only the units named in `keep`; other groups stay whole.

    It gives the answers of `masked(model, keep)`, and it is a model like any other: its modules say
    their true sizes; it can be copied, trained, exported and made smaller again. Lesson 2.

    Args:
        model: any module that `groups` understands; it is left alone.
        keep: group → indices of the units that stay, at least one. Their order does not matter.
        share: use the model's own tensors where nothing is cut, to measure many variants in little
            memory. Training one would change the other (default False).

    Raises:
        TypeError: a unit that is no whole number.
        ValueError: an unknown group, no unit, one twice, or one that does not exist.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> remove(net, {"0": [0, 3]})
        Sequential(
          (0): Linear(in_features=8, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=2, bias=True)
        )
    """
    chosen = _checked(model, keep)
    # id of a tensor → its smaller copy; deepcopy then uses that one
    smaller: dict[int, Any] = {id(p): p for p in model.parameters()} if share else {}
    for group, kept in chosen:
        for piece in group.slices:
            old = getattr(model.get_submodule(piece.module), piece.tensor)
            cut = smaller.get(id(old), old).detach()
            cut = cut.index_select(piece.dim, piece.indices(kept.to(old.device), group.units))
            if isinstance(old, nn.Parameter):
                cut = nn.Parameter(cut, requires_grad=old.requires_grad)
            smaller[id(old)] = cut
    result = copy.deepcopy(model, smaller)
    for group, kept in chosen:
        for piece in group.slices:
            _say_true_sizes(result.get_submodule(piece.module))
        for module, attribute, size in group.counts:
            setattr(result.get_submodule(module), attribute, len(kept) * size)
    return remember(result, model)


def masked(model: nn.Module, keep: Keep) -> nn.Module:
    """A copy of the model that no longer hears the other units: what reads them has zeros there.

    It is as large as before. A unit that is silenced where it is computed can still speak: the
    shift of a batch norm behind a zero channel is the best known trap. Explained in lesson 2.
    Arguments and errors are those of `remove`.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> int((masked(net, {"0": [0, 3]})[2].weight == 0).sum())
        6
    """
    chosen = _checked(model, keep)
    result = copy.deepcopy(model)
    for group, kept in chosen:
        gone = torch.tensor(sorted(set(range(group.units)) - set(kept.tolist())), dtype=torch.long)
        for piece in group.slices:
            if piece.reads:
                weight = getattr(result.get_submodule(piece.module), piece.tensor)
                places = piece.indices(gone.to(weight.device), group.units)
                weight.data.index_fill_(piece.dim, places, 0.0)
    return result


def remove_layers(model: PreTrainedModel, keep: Iterable[int]) -> PreTrainedModel:
    """A copy of a transformer that has only the layers named in `keep`, in their old order.

    It equals the model in which the other layers hand on what they are given. Lesson 2.

    Raises:
        TypeError: not a `transformers` model.
        ValueError: no layer, one twice, or one that does not exist.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=4, num_attention_heads=2)
        >>> remove_layers(BertModel(config), [0, 3]).config.num_hidden_layers
        2
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"Got a {type(model).__name__}; only transformers models have layers here.")
    path, layers = layers_of(model)
    kept = _indices(keep, len(layers), "layers").tolist()
    if getattr(model.config, "scale_attn_by_inverse_layer_idx", False):
        raise ValueError(
            "This GPT-2 divides each layer's attention by the layer's number "
            "(scale_attn_by_inverse_layer_idx), so a layer cannot change its place."
        )
    # The layers that go are replaced by nothing while copying: they cost no memory.
    result = copy.deepcopy(model, {id(layers): nn.ModuleList()})
    new: Any = result.get_submodule(path)
    for place, i in enumerate(kept):
        layer = copy.deepcopy(layers[i], {id(model.config): result.config})
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = place  # where a decoder's cache keeps this layer
        new.append(layer)
    result.config.num_hidden_layers = len(kept)
    return remember(result, model)


def original_parameters(model: nn.Module) -> int:
    """Parameters before anything was removed; remembered by every smaller copy.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> original_parameters(remove(net, {"0": [0, 3]}))
        57
    """
    return getattr(model, "original_parameters", None) or _parameters(model)


@dataclass(frozen=True, repr=False)
class Changes:
    """What became smaller: one line for each group, and the parameters of the whole."""

    lines: tuple[str, ...]
    parameters: int
    original: int

    def __repr__(self) -> str:
        share = 1 - self.parameters / self.original
        total = f"{self.original:,} ⇒ {self.parameters:,} parameters: {share:.1%} removed"
        return "\n".join([*self.lines, total])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def changes(before: nn.Module, after: nn.Module) -> Changes:
    """What differs between a model and the smaller one made from it, group by group.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> changes(net, remove(net, {"0": [0, 3]}))
        0: Linear(8 → 5)  ⇒  Linear(8 → 2)
        57 ⇒ 24 parameters: 57.9% removed
    """
    lines = []
    if isinstance(before, PreTrainedModel) and isinstance(after, PreTrainedModel):
        for name, of in (
            ("layers", lambda m: len(layers_of(m)[1])),
            ("vocabulary", lambda m: getattr(m.config, "vocab_size", 0)),
        ):
            if of(before) != of(after):
                lines.append(f"{name}: {of(before):,}  ⇒  {of(after):,}")
    new = groups(after)
    for name, group in groups(before).items():
        if name in new and new[name].units != group.units:
            first = group.slices[0].module
            old, now = (_shape(m.get_submodule(first)) for m in (before, after))
            lines.append(f"{name}: {old}  ⇒  {now}")
    return Changes(tuple(lines), _parameters(after), _parameters(before))


def unit_sums(tensor: Tensor, piece: Slice, units: int) -> Tensor:
    """The tensor's numbers summed over all that belongs to each unit: ``[units]``."""
    first = tensor.movedim(piece.dim, 0)
    return first.reshape(piece.blocks, units, piece.spread, -1).sum((0, 2, 3))


def widths_to_parameters(model: nn.Module) -> Callable[[Mapping[str, int]], int]:
    """A function: units in each group → parameters of the model, by arithmetic alone.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> widths_to_parameters(net)({"0": 2})
        24
    """
    found = groups(model)
    cut: dict[int, tuple[tuple[int, ...], dict[int, str]]] = {}  # tensor → shape, dim → group
    for group in found.values():
        for piece in group.slices:
            tensor = getattr(model.get_submodule(piece.module), piece.tensor)
            if isinstance(tensor, nn.Parameter):
                cut.setdefault(id(tensor), (tuple(tensor.shape), {}))[1][piece.dim] = group.name
    rest = _parameters(model) - sum(math.prod(shape) for shape, _ in cut.values())

    def parameters(widths: Mapping[str, int]) -> int:
        total = rest
        for shape, owners in cut.values():
            sizes = list(shape)
            for dim, name in owners.items():
                units = found[name].units
                sizes[dim] = sizes[dim] // units * widths.get(name, units)
            total += math.prod(sizes)
        return total

    return parameters


def _checked(model: nn.Module, keep: Keep) -> list[tuple[Group, Tensor]]:
    found = zip(groups_of(model, keep), keep.values(), strict=True)
    return [(group, _indices(kept, group.units, group.name)) for group, kept in found]


def _indices(kept: Any, units: int, name: str) -> Tensor:
    kept = kept.tolist() if hasattr(kept, "tolist") else list(kept)
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in kept):
        raise TypeError(f"{name}: got {kept[:5]}; give the units that stay as whole numbers.")
    if not kept or len(set(kept)) < len(kept) or min(kept) < 0 or max(kept) >= units:
        raise ValueError(
            f"{name}: got {len(kept)} units to keep, such as {kept[:5]}; give at least one of 0 to "
            f"{units - 1}, none of them twice."
        )
    return torch.tensor(sorted(kept))


def _say_true_sizes(module: Any) -> None:
    shape = module.weight.shape if module.weight is not None else module.running_mean.shape
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, Conv1D):
        module.nx, module.nf = shape
    elif isinstance(module, CONVOLUTIONS):
        module.out_channels, module.in_channels = shape[:2]
        if module.groups > 1:  # depthwise: as many groups as channels
            module.groups = module.in_channels = shape[0]
    elif isinstance(module, BATCH_NORMS):
        module.num_features = shape[0]


def remember(result: Any, model: nn.Module) -> Any:
    """Note the original size, and let a transformer's config say what is true of all its layers."""
    result.original_parameters = original_parameters(model)
    family = family_of(result)
    if family is not None:
        of_kind: dict[str, list[int]] = {}
        for group in groups(result).values():
            of_kind.setdefault(group.kind, []).append(group.units)
        setattr(result.config, family.ffn, max(of_kind["feed-forward units"]))
        if len(set(of_kind["heads"])) == 1 and result.config.model_type == "vit":
            # ViT alone reads the size of a head from its config; the others divide.
            size = next(iter(groups(result).values())).slices[0].spread
            result.config.head_dim = size
            result.config.num_attention_heads = of_kind["heads"][0]
    return result


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _shape(module: Any) -> str:
    shape = list(module.weight.shape)
    if isinstance(module, Conv1D):
        shape.reverse()
    return f"{type(module).__name__}({shape[1]} → {shape[0]})"
