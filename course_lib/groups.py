"""What can be removed from a network for good: groups of neurons, channels, heads or units.

A *unit* (a neuron, a channel, an attention head, a feed-forward unit) owns slices of several tensors:
what computes it, and what reads it. A `Group` lists them for all units of one place; channels that a
residual connection adds up are one group, for they can only go together. Explained in lesson 2.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

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
    model's answer is made of stays. Explained in lesson 2.

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
    found, fixed = _all_groups(model)
    if name in found:
        return found[name]
    if name in fixed:
        raise ValueError(f"{name!r} cannot be made smaller: {fixed[name]}.")
    raise ValueError(f"There is no group {name!r}; there are {', '.join(found) or 'none'}.")


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
    return _Trace(model).result()


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


# --- any other module: follow the channels through the traced graph ---------------------------------

_SAME = {  # modules and functions that answer each channel from that channel alone
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh,
    nn.Sigmoid, nn.Dropout, F.relu, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.dropout,
    torch.relu, torch.tanh, torch.sigmoid, "relu", "tanh", "sigmoid", "contiguous", "clone",
}  # fmt: skip
_POOLS = {
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.Dropout2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, F.max_pool1d, F.max_pool2d,
    F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d,
}  # fmt: skip
_SUMS = {
    operator.add,
    operator.iadd,
    operator.mul,
    operator.imul,
    torch.add,
    torch.mul,
    "add",
    "mul",
}
_FLATTENS = {nn.Flatten, torch.flatten, "flatten"}
_ASKS = {"size", "dim", getattr}  # a shape, not what is in it


@dataclass(frozen=True)
class _Channels:
    """A value whose channels belong to a group. `layout`: where they lie in its shape."""

    group: int
    layout: str  # "maps" [n, units, …], "flat" [n, units · pixels] or "last" […, units]


class _Trace:
    """One walk over the graph: which channels belong together, and which slices own them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.parent: list[int] = []  # union–find over groups
        self.made: list[tuple[str, str, int]] = []  # (first module, kind, units) of each group
        self.slices: list[tuple[int, Slice]] = []
        self.fixed: dict[int, str] = {}  # group → why it must stay
        self.outputs: dict[str, int] = {}  # module → group of its answer
        self.closed: set[tuple[str, int]] = set()  # (module, dim) that reads something that stays
        self.direct: set[int] = set()  # ids of the tensors that a forward uses by itself
        tracer = _Tracer()
        try:
            graph = tracer.trace(model)
        except Exception as error:
            place = type(model.get_submodule(tracer.place)).__name__
            raise ValueError(
                f"{f'{tracer.place!r}, a {place},' if tracer.place else place} could not be traced by "
                f"torch.fx: {error}. Its forward must not depend on the values of its input."
            ) from error
        values: dict[fx.Node, _Channels | None] = {}
        for node in graph.nodes:
            values[node] = self._step(node, [values.get(n) for n in node.all_input_nodes])
        self._join_repeated_calls()
        self._keep_shared_weights()

    def result(self) -> tuple[dict[str, Group], dict[str, str]]:
        found, fixed = {}, {}
        reasons = {self._root(group): reason for group, reason in self.fixed.items()}
        for group, (name, kind, units) in enumerate(self.made):
            root = self._root(group)
            if root in reasons:
                fixed[name] = reasons[root]
            elif root == group:
                members = (piece for g, piece in self.slices if self._root(g) == root)
                found[name] = Group(name, kind, units, tuple(dict.fromkeys(members)))
        return found, fixed

    def _step(self, node: fx.Node, inputs: list[_Channels | None]) -> _Channels | None:
        known = [value for value in inputs if value is not None]
        first = known[0] if known else None
        target: Any = node.target
        if node.op == "output":
            return self._fix(known, "the model's answer is made of it")
        if node.op == "get_attr":
            self.direct.add(id(operator.attrgetter(target)(self.model)))
        if node.op in ("placeholder", "get_attr"):
            return None
        if target in _ASKS:
            asks = first is not None and _asks_for_channels(node, first.layout)
            return (
                self._fix(known, f"'{node.name}' uses how many channels there are")
                if asks
                else None
            )
        if node.op == "call_module":
            module = self.model.get_submodule(str(target))
            if type(module) is nn.Linear or type(module) in CONVOLUTIONS:
                return self._layer(str(target), module, first)
            if type(module) in BATCH_NORMS:
                return self._batch_norm(str(target), module, first)
            target = type(module)
        if first is None:
            return None
        if target in _SAME or (target in _POOLS and first.layout == "maps"):
            return first
        if target in _SUMS:
            return self._sum(node, inputs, known)
        if self._flattens(node, target):
            return _Channels(first.group, "last" if first.layout == "last" else "flat")
        if target in (torch.mean, "mean") and first.layout == "maps" and _over_pixels(node):
            return _Channels(first.group, "last")
        where = f"'{node.target}'" if node.op == "call_module" else f"'{node.name}' ({node.target})"
        return self._fix(known, f"it reaches {where}, and what that does to channels is not known")

    def _layer(self, name: str, module: Any, value: _Channels | None) -> _Channels | None:
        linear = isinstance(module, nn.Linear)
        out = module.out_features if linear else module.out_channels
        depthwise = not linear and module.groups > 1 and module.groups == module.in_channels == out
        if not linear and module.groups > 1 and not depthwise:
            # what goes in and what comes out would have to go in step, group by group
            self.made.append((name, "channels", out))
            self.parent.append(len(self.parent))
            self.fixed[len(self.parent) - 1] = "it is a grouped convolution"
            return self._fix([value], f"the grouped convolution {name!r} reads it")
        if value is not None:
            units, size = self._units(value), module.weight.shape[0 if depthwise else 1]
            layouts = ("last", "flat") if linear else ("maps",)
            fits = size % units == 0 and (size == units or value.layout == "flat")
            if value.layout not in layouts or not fits:
                value = self._fix([value], f"the way its channels reach {name!r} is not known")
        if value is None:
            self.closed.add((name, 0 if depthwise else 1))
        if depthwise:
            return self._owned(name, module, ("weight", "bias"), value)
        if value is not None:
            spread = module.weight.shape[1] // self._units(value)
            self.slices.append((value.group, Slice(name, "weight", 1, spread, reads=True)))
        if name not in self.outputs:  # else it is called again: the same weights, the same group
            self.outputs[name] = len(self.parent)
            self.parent.append(len(self.parent))
            self.made.append((name, "neurons" if linear else "channels", out))
        answer = _Channels(self.outputs[name], "last" if linear else "maps")
        return self._owned(name, module, ("weight", "bias"), answer)

    def _batch_norm(self, name: str, module: Any, value: _Channels | None) -> _Channels | None:
        size = module.num_features
        if value is not None:
            units = self._units(value)
            if size % units or (size != units and value.layout != "flat"):
                value = self._fix([value], f"the way its channels reach {name!r} is not known")
            elif module.weight is None and module.running_mean is None:
                value = self._fix([value], f"{name!r} has no numbers that could be cut")
        if value is None:
            self.closed.add((name, 0))
            return None
        tensors = ("weight", "bias", "running_mean", "running_var")
        return self._owned(name, module, tensors, value, size // self._units(value))

    def _owned(
        self, name: str, module: Any, tensors: tuple[str, ...], value: Any, spread: int = 1
    ) -> Any:
        for tensor in tensors:
            if value is not None and getattr(module, tensor) is not None:
                self.slices.append((value.group, Slice(name, tensor, 0, spread)))
        return value

    def _sum(self, node: fx.Node, inputs: Any, known: list[_Channels]) -> _Channels | None:
        if len(known) < len(inputs):  # the other summand comes from where nothing can be removed
            return self._fix(known, f"'{node.name}' adds it to channels that stay")
        if len({(value.layout, self._units(value)) for value in known}) > 1:
            return self._fix(known, f"'{node.name}' joins values of different shapes")
        for other in known[1:]:
            self._join(known[0].group, other.group)
        return known[0]

    def _flattens(self, node: fx.Node, target: Any) -> bool:
        if target is nn.Flatten:
            module: Any = self.model.get_submodule(str(node.target))
            return bool((module.start_dim, module.end_dim) == (1, -1))
        if target in _FLATTENS:
            return (node.args[1:], node.kwargs) in (((1,), {}), ((), {"start_dim": 1}))
        if target not in ("view", "reshape") or len(node.args) != 3:
            return False
        return _is_batch_size(node.args[1]) and bool(node.args[2] == -1)

    def _join_repeated_calls(self) -> None:
        """A module that is called twice reads two values with the same weights."""
        owner: dict[tuple[str, str, int], tuple[int, int]] = {}
        for group, piece in self.slices:
            place = piece.module, piece.tensor, piece.dim
            first, spread = owner.setdefault(place, (group, piece.spread))
            if spread == piece.spread:
                self._join(first, group)
            if spread != piece.spread or (piece.module, piece.dim) in self.closed:
                reason = f"{piece.module!r} is called with different kinds of channels"
                self.fixed |= {first: reason, group: reason}

    def _keep_shared_weights(self) -> None:
        """What two modules share, or a forward uses by itself, cannot be cut for one of them."""
        owners: dict[int, list[str]] = {}
        for name, module in self.model.named_modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                owners.setdefault(id(tensor), []).append(name)
        for group, piece in self.slices:
            tensor = getattr(self.model.get_submodule(piece.module), piece.tensor)
            others = [name for name in owners[id(tensor)] if name != piece.module]
            if others or id(tensor) in self.direct:
                other = repr(others[0]) if others else "the forward of another module"
                self.fixed[group] = f"{piece.module!r} shares its {piece.tensor} with {other}"

    def _fix(self, values: Any, reason: str) -> _Channels | None:
        """These groups stay. The answer is None: of what becomes of them nothing is known."""
        for value in values:
            if value is not None:
                self.fixed.setdefault(value.group, reason)
        return None

    def _join(self, a: int, b: int) -> None:
        first, second = sorted((self._root(a), self._root(b)))
        self.parent[second] = first  # coupled: named after the earlier layer

    def _units(self, value: _Channels) -> int:
        return self.made[self._root(value.group)][2]

    def _root(self, group: int) -> int:
        while self.parent[group] != group:
            group = self.parent[group]
        return group


class _Tracer(fx.Tracer):
    """Knows afterwards which module it was in when it failed."""

    place = ""

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        before, self.place = self.place, self.path_of_module(m)
        answer = super().call_module(m, forward, args, kwargs)
        self.place = before
        return answer


def _is_batch_size(node: Any) -> bool:
    """Whether it is ``x.size(0)`` or ``x.shape[0]``."""
    if not isinstance(node, fx.Node) or node.target not in ("size", operator.getitem):
        return False
    return node.args[1:] == (0,)


def _asks_for_channels(node: fx.Node, layout: str) -> bool:
    """Whether a question about a value's shape could be one for its channels."""
    if node.target == "dim" or node.args[1:] in (("ndim",), ("dtype",), ("device",)):
        return False
    harmless = [0, 2, 3, 4, slice(2, None)] if layout == "maps" else [0]
    if node.target == "size" and len(node.args) > 1:
        return node.args[1] not in harmless
    if node.target is getattr and node.args[1] != "shape":
        return True  # such as x.T
    return not all(
        user.target is operator.getitem and (user.args[1] in harmless or not user.users)
        for user in node.users
    )


def _over_pixels(node: fx.Node) -> bool:
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", ())
    dims = dims if isinstance(dims, (list, tuple)) else (dims,)
    keeps = node.kwargs.get("keepdim", False) or len(node.args) > 2
    return set(dims) in ({2, 3}, {-1, -2}) and not keeps
