"""What can be removed from a network for good: groups of neurons, channels, heads or units.

A *unit* (a neuron, a channel, an attention head, a feed-forward unit) owns slices of several tensors:
what computes it, and what reads it. A `Group` lists them for all units of one place; channels that a
residual connection adds up are one group, for they can only go together. Explained in lesson 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from course_lib.tracing import traced_groups
from course_lib.units import Group, Slice

# --- transformers: one row says where a family keeps its projections --------------------------------


@dataclass(frozen=True)
class Family:
    """Where a `transformers` family keeps what can be removed; paths start at one of its layers."""

    layers: str  # from the base model to the list of layers
    attention: str  # counts the heads …
    heads: str  # … in this attribute
    widths: tuple[str, ...]  # and these are heads times the size of one
    qkv: tuple[str, ...]
    out: str
    up: str
    down: str
    ffn: str = "intermediate_size"  # the config's name for the feed-forward units


BERT = Family(
    layers="encoder.layer",
    attention="attention.self",
    heads="num_attention_heads",
    widths=("all_head_size",),
    qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
    out="attention.output.dense",
    up="intermediate.dense",
    down="output.dense",
)
FAMILIES: Mapping[str, Family] = {
    "bert": BERT,
    "roberta": BERT,
    "electra": BERT,
    "distilbert": Family(
        layers="transformer.layer",
        attention="attention",
        heads="n_heads",
        widths=(),
        qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        out="attention.out_lin",
        up="ffn.lin1",
        down="ffn.lin2",
        ffn="hidden_dim",
    ),
    "vit": Family(
        layers="layers",
        attention="attention",
        heads="num_attention_heads",
        widths=(),
        qkv=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        out="attention.o_proj",
        up="mlp.fc1",
        down="mlp.fc2",
    ),
    "gpt2": Family(
        layers="h",
        attention="attn",
        heads="num_heads",
        widths=("split_size",),
        qkv=("attn.c_attn",),  # all three in one matrix
        out="attn.c_proj",
        up="mlp.c_fc",
        down="mlp.c_proj",
        ffn="n_inner",
    ),
}


def groups(model: nn.Module) -> dict[str, Group]:
    """All groups of units that can be removed from a model, by name, in the order of the forward pass.

    `transformers` models of the families in `FAMILIES` have heads and feed-forward units, named as
    ``"layer.0.heads"`` and ``"layer.0.ffn"``. In any other module the neurons of Linear layers and
    the channels of convolutions are found by tracing it (`torch.fx`), through batch norm, pooling,
    flatten and residual sums; a group is named after the first layer that computes it. What the
    model's answer is made of stays. The trace knows no shapes: a `BatchNorm1d` is taken to see
    ``[n, features]``, and a mean over two dimensions to be one over all pixels. Explained in lesson 2.

    Raises:
        ValueError: nothing can be removed; names the module that could not be placed.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> [(group.name, group.kind, group.units) for group in groups(net).values()]
        [('0', 'neurons', 5)]
    """
    found, fixed = _all_groups(model)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in fixed.items())
        raise ValueError(
            f"{type(model).__name__} has nothing that can be removed. {reasons or 'It has no layers.'}"
        )
    return found


def group_of(model: nn.Module, name: str) -> Group:
    """The group of that name; the error says why a layer has none.

    Example:
        >>> group_of(nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)), "2")
        Traceback (most recent call last):
        ValueError: '2' cannot be made smaller: the model's answer is made of it.
    """
    return groups_of(model, [name])[0]


def groups_of(model: nn.Module, names: Iterable[str]) -> list[Group]:
    """The groups of these names, found in one walk; the error says why a layer has none.

    Example:
        >>> [group.units for group in groups_of(nn.Sequential(nn.Linear(8, 5), nn.Linear(5, 2)), "0")]
        [5]
    """
    found, fixed = _all_groups(model)
    for name in (names := list(names)):
        if name in fixed:
            raise ValueError(f"{name!r} cannot be made smaller: {fixed[name]}.")
        if name not in found:
            raise ValueError(f"There is no group {name!r}; there are {', '.join(found) or 'none'}.")
    return [found[name] for name in names]


def family_of(model: nn.Module) -> Family | None:
    """The row of `FAMILIES` for a `transformers` model; None for any other module.

    Raises:
        ValueError: a `transformers` model of another family; names its first layer.
    """
    if not isinstance(model, PreTrainedModel):
        return None
    kind = model.config.model_type
    if kind in FAMILIES:
        return FAMILIES[kind]
    place = next(
        (n for n, m in model.named_modules() if isinstance(m, nn.ModuleList)), "its layers"
    )
    raise ValueError(
        f"{type(model).__name__} is of the family {kind!r}, so {place!r} could not be placed. Known "
        f"are {', '.join(FAMILIES)}; another family is one more row in course_lib.groups.FAMILIES."
    )


def layers_of(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Path and list of a transformer's layers."""
    family = family_of(model)
    assert family is not None
    base = next(name for name, module in model.named_modules() if module is model.base_model)
    path = f"{base}.{family.layers}" if base else family.layers
    return path, model.get_submodule(path)  # type: ignore[return-value]


def _all_groups(model: nn.Module) -> tuple[dict[str, Group], dict[str, str]]:
    for name, module in model.named_modules():
        # The older hooks of PyTorch keep the parameter under another name.
        hidden = {"weight_orig", "bias_orig", "weight_v"} & module._parameters.keys()
        if is_parametrized(module) or hidden:
            raise ValueError(
                f"{name!r} has a mask attached, so its tensors cannot be cut. Write the zeros into "
                "the weights first: masking.make_permanent(model)."
            )
    if isinstance(model, PreTrainedModel):
        return {group.name: group for group in _transformer_groups(model)}, {}
    return traced_groups(model)


def _transformer_groups(model: PreTrainedModel) -> Iterator[Group]:
    family = family_of(model)
    assert family is not None
    path, layers = layers_of(model)
    known = {*family.qkv, family.out, family.up, family.down}
    for i, layer in enumerate(layers):
        for name, module in layer.named_modules():
            if isinstance(module, (nn.Linear, Conv1D)) and name not in known:
                raise ValueError(
                    f"'{path}.{i}.{name}' could not be placed: {model.config.model_type!r} in "
                    f"course_lib.groups.FAMILIES knows {', '.join(sorted(known))}."
                )
        here = f"{path}.{i}."
        heads: int = getattr(layer.get_submodule(family.attention), family.heads)
        size = _shape(layer, family.out)[_in_dim(layer, family.out)] // heads
        blocks = 3 // len(family.qkv)
        yield Group(
            f"layer.{i}.heads",
            "heads",
            heads,
            (
                *(s for name in family.qkv for s in _computes(layer, here, name, size, blocks)),
                _reads(layer, here, family.out, size),
            ),
            counts=(
                (here + family.attention, family.heads, 1),
                *((here + family.attention, width, size) for width in family.widths),
            ),
        )
        units = _shape(layer, family.up)[1 - _in_dim(layer, family.up)]
        yield Group(
            f"layer.{i}.ffn",
            "feed-forward units",
            units,
            (*_computes(layer, here, family.up), _reads(layer, here, family.down)),
        )


def _shape(layer: nn.Module, name: str) -> torch.Size:
    return layer.get_parameter(f"{name}.weight").shape


def _in_dim(layer: nn.Module, name: str) -> int:
    return 0 if isinstance(layer.get_submodule(name), Conv1D) else 1  # Conv1D is transposed


def _computes(
    layer: nn.Module, here: str, name: str, spread: int = 1, blocks: int = 1
) -> Iterator[Slice]:
    yield Slice(here + name, "weight", 1 - _in_dim(layer, name), spread, blocks)
    if layer.get_submodule(name).bias is not None:
        yield Slice(here + name, "bias", 0, spread, blocks)


def _reads(layer: nn.Module, here: str, name: str, spread: int = 1) -> Slice:
    return Slice(here + name, "weight", _in_dim(layer, name), spread, reads=True)
