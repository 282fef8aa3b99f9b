"""Removing units for good: tensors become smaller, and the outputs are those of the masked model.

What to remove is decided in `selection`. Explained in lesson 2.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from course_lib.structured.config_widths import note_widths_
from course_lib.structured.cutting import cut, zeroed
from course_lib.structured.dependency import groups, groups_of
from course_lib.structured.proof import difference, random_input
from course_lib.structured.transformers import layers_of
from course_lib.structured.units import Group

Keep = Mapping[str, Sequence[int] | Tensor]  # group → the units that stay


def remove(
    model: nn.Module,
    keep: Keep,
    *,
    exact: bool = True,
    example: Any = None,
    share_tensors: bool = False,
) -> nn.Module:
    """A copy of the model that has only the units named in `keep`; other groups stay whole.

    Its outputs are those of `masked(model, keep)`. Its modules have their true sizes, so it can be
    copied, trained, exported and made smaller again.

    Args:
        model: any module that `groups` understands; it is left alone.
        keep: group → indices of the units that stay, at least one, in any order; or a mask of all its
            units, True where one stays.
        exact: False also removes what a norm across channels reads, as ``groups(model, exact=False)``
            lists it. The outputs then are not those of the masked model: `difference` of the result
            is the largest difference on the example, as a share of the largest output (default True).
        example: inputs without labels, for ``exact=False``: what the model is called with, or a
            mapping of keyword arguments. A transformer has a random one of its own.
        share_tensors: use the model's own tensors where nothing is cut, to measure many variants in
            little memory. Training one would change the other (default False).

    Raises:
        TypeError: an index that is no whole number.
        ValueError: an unknown group, no unit, one twice, or one that does not exist; or no example.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> remove(net, {"0": [0, 3]})
        Sequential(
          (0): Linear(in_features=8, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=2, bias=True)
        )
    """
    chosen = _checked(model, keep, exact)
    result = record_original_size(cut(model, chosen, share_tensors), model)
    vars(result).pop("difference", None)  # of an earlier removal
    if not exact:
        if example is None and not isinstance(model, PreTrainedModel):
            raise ValueError("exact=False measures a difference: give it on what, example=inputs.")
        example = random_input(model) if example is None else example  # type: ignore[arg-type]
        result.difference = difference(model, zeroed(model, chosen), result, example)
    return result


def masked(model: nn.Module, keep: Keep) -> nn.Module:
    """A copy of the same size, in which the weights that multiply the other units are zero.

    Zeros in the layer that computes a unit are not enough, because the shift of a batch norm behind
    it still reaches the next layer. Groups that cannot be removed exactly can be masked, too.
    `model` and `keep`, and the errors, are those of `remove`.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> int((masked(net, {"0": [0, 3]})[2].weight == 0).sum())
        6
    """
    weights = zeroed(model, _checked(model, keep, exact=False))
    result = copy.deepcopy(model)
    for name, weight in weights.items():
        result.get_parameter(name).data.copy_(weight)
    return result


def remove_layers(
    model: PreTrainedModel, keep: Iterable[int], *, share_tensors: bool = False
) -> PreTrainedModel:
    """A copy of a transformer that has only the layers named in `keep`, in their old order: its outputs
    are those of the model in which every other layer returns its input. With `share_tensors` it
    uses the model's own tensors, as for `remove` (default False).

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
    if (passes := model.config.num_hidden_layers) != len(layers):
        raise ValueError(
            f"{type(model).__name__} shares {len(layers)} layer among {passes} passes; to make it "
            "shallower, set model.config.num_hidden_layers to fewer."
        )
    kept = _indices(keep, len(layers), "layers").tolist()
    if getattr(model.config, "scale_attn_by_inverse_layer_idx", False):
        raise ValueError(
            "This GPT-2 divides each layer's attention by the layer's number "
            "(scale_attn_by_inverse_layer_idx), so a layer cannot change its place."
        )
    shared: dict[int, Any] = {id(p): p for p in model.parameters()} if share_tensors else {}
    # An empty list stands in for the layers while copying, so those that go cost no memory.
    result = copy.deepcopy(model, shared | {id(layers): nn.ModuleList()})
    new: Any = result.get_submodule(path)
    for place, i in enumerate(kept):
        layer = copy.deepcopy(layers[i], shared | {id(model.config): result.config})
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = place  # where a decoder's cache keeps this layer
        new.append(layer)
    result.config.num_hidden_layers = len(kept)
    return record_original_size(result, model)


def original_parameters(model: nn.Module) -> int:
    """Parameters before anything was removed; every smaller copy has the number as an attribute.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> original_parameters(remove(net, {"0": [0, 3]}))
        57
    """
    return getattr(model, "original_parameters", None) or _parameters(model)


@dataclass(frozen=True, repr=False)
class Changes:
    """What became smaller: one line for each group, and the parameters of the whole model."""

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
    differences: dict[str, tuple[object, object]] = {}
    if isinstance(before, PreTrainedModel) and isinstance(after, PreTrainedModel):
        layers = (len(layers_of(model)[1]) for model in (before, after))
        words = (getattr(model.config, "vocab_size", 0) for model in (before, after))
        for name, (old, new) in (("layers", layers), ("vocabulary", words)):
            differences[name] = f"{old:,}", f"{new:,}"
    smaller = groups(after, exact=False)
    for name, group in groups(before, exact=False).items():
        if name in smaller and smaller[name].units != group.units:
            module = group.slices[0].module
            old, new = (_shape(model.get_submodule(module)) for model in (before, after))
            differences[name] = old, new
    lines = [f"{n}: {old}  ⇒  {new}" for n, (old, new) in differences.items() if old != new]
    if (gap := getattr(after, "difference", None)) is not None:
        lines.append(f"not exact: outputs differ from masked ones by {gap:.1%} of the largest")
    return Changes(tuple(lines), _parameters(after), _parameters(before))


def parameter_counter(model: nn.Module) -> Callable[[Mapping[str, int]], int]:
    """A function: units in each group → parameters of the model, by arithmetic alone.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> parameter_counter(net)({"0": 2})
        24
    """
    found = groups(model, exact=False)
    units = {name: group.units for name, group in found.items()}
    # tensor → shape, and what each unit of a group takes of a dimension
    owned: dict[int, tuple[tuple[int, ...], list[tuple[int, str, int]]]] = {}
    for group in found.values():
        for piece in group.slices:
            tensor = piece.tensor_in(model)
            if isinstance(tensor, nn.Parameter):
                of_unit = piece.dim, group.name, piece.unit_size * piece.repeats
                owned.setdefault(id(tensor), (tuple(tensor.shape), []))[1].append(of_unit)
    rest = _parameters(model) - sum(math.prod(shape) for shape, _ in owned.values())

    def parameters(widths: Mapping[str, int]) -> int:
        total = rest
        for shape, owners in owned.values():
            sizes = list(shape)
            for dim, name, size in owners:
                sizes[dim] -= size * (units[name] - widths.get(name, units[name]))
            total += math.prod(sizes)
        return total

    return parameters


def record_original_size(result: Any, model: nn.Module) -> Any:
    """Note the original size, and put the new widths into a transformer's config."""
    result.original_parameters = original_parameters(model)
    if isinstance(result, PreTrainedModel):
        note_widths_(result)
    return result


def _checked(model: nn.Module, keep: Keep, exact: bool) -> list[tuple[Group, Tensor]]:
    pairs = zip(groups_of(model, keep, exact), keep.values(), strict=True)
    return [(group, _indices(units, group.units, group.name)) for group, units in pairs]


def _indices(kept: Any, units: int, name: str) -> Tensor:
    kept = kept.tolist() if hasattr(kept, "tolist") else list(kept)
    kept = [i.item() if isinstance(i, (np.generic, Tensor)) and i.ndim == 0 else i for i in kept]
    if len(kept) == units > 1 and all(isinstance(i, bool) for i in kept):  # a mask
        kept = [i for i, stays in enumerate(kept) if stays]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in kept):
        raise TypeError(
            f"{name}: got {kept[:5]}; give the units that stay as whole numbers, or a mask of "
            f"{units} true and false."
        )
    if not kept or len(set(kept)) < len(kept) or min(kept) < 0 or max(kept) >= units:
        raise ValueError(
            f"{name}: got {len(kept)} units to keep, such as {kept[:5]}; give at least one of 0 to "
            f"{units - 1}, none of them twice."
        )
    return torch.tensor(sorted(kept))


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _shape(module: Any) -> str:
    shape = list(module.weight.shape)
    if isinstance(module, Conv1D):
        shape.reverse()
    return f"{type(module).__name__}({shape[1]} → {shape[0]})"
