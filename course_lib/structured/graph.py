"""Groups of neurons and channels, found by following channels through a module's traced graph.

`LAYERS` and `OPERATIONS` list everything that is understood. Whatever else channels reach keeps them
whole, with the reason. Explained in lesson 2.
"""

from __future__ import annotations

import operator
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from course_lib.structured.units import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED, Group, Slice


def traced_groups(model: nn.Module) -> tuple[dict[str, Group], dict[str, str]]:
    """The groups that can be removed, exactly or not, and for every other layer why it must stay.

    Raises:
        ValueError: `torch.fx` cannot trace the model; names the module in which it failed.

    Example:
        >>> groups, fixed = traced_groups(nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)))
        >>> list(groups), fixed
        (['0'], {'2': "the model's answer is made of it"})
    """
    nodes, walk = _trace(model).nodes, _Walk(model)
    values: dict[fx.Node, Value] = {}
    for node in nodes:
        values[node] = walk.step(node, [values[n] for n in node.all_input_nodes])
    used = [operator.attrgetter(n.target)(model) for n in nodes if n.op == "get_attr"]
    walk.join_repeated_calls()
    walk.keep_shared_weights(used)
    return walk.result()


@dataclass(eq=False)
class _Members:
    """A group while the walk goes on, under the name of the first layer that produces its units."""

    name: str
    kind: str
    units: int
    number: int
    reason: str = ""  # why it must stay
    inexact: str = ""  # why the units that stay change when others go
    joined_to: _Members | None = None  # an earlier group with which it is coupled

    @property
    def root(self) -> _Members:
        return self if self.joined_to is None else self.joined_to.root

    def join(self, other: _Members) -> None:
        first, second = sorted((self.root, other.root), key=lambda group: group.number)
        if first is not second:
            second.joined_to = first
            first.repeat(second.units)

    def repeat(self, units: int) -> None:
        """Its channels are runs of so many units: a chunk or a grouped convolution takes them apart."""
        root = self.root
        if root.units % units and units % root.units:
            root.reason = root.reason or f"its channels are runs of {units} and of {root.units}"
        root.units = min(root.units, units)


@dataclass(frozen=True)
class _Channels:
    """A value whose channels are those of groups, behind one another, and where they lie in its shape.

    Several groups come from a concatenation. A group whose units are fewer than the channels repeats.
    """

    parts: tuple[tuple[_Members, int], ...]  # group and number of channels
    layout: str  # "maps" [n, units, …], "flat" [n, units · pixels] or "last" […, units]

    @property
    def width(self) -> int:
        return sum(channels for _, channels in self.parts)


Value = _Channels | None  # None: nothing that could be removed


# --- layers that compute or scale channels ----------------------------------------------------


def _linear(walk: _Walk, name: str, module: Any, value: Value) -> Value:
    walk.consumes(name, value, module.weight.shape[1], "flat last")
    return walk.produces(name, "neurons", module.out_features, "last")


def _convolution(walk: _Walk, name: str, module: Any, value: Value) -> Value:
    inputs, outputs, parts = module.in_channels, module.out_channels, module.groups
    transposed = isinstance(module, TRANSPOSED)
    if 1 < parts == inputs == outputs and not transposed:  # depthwise
        return walk.scales(name, value, outputs, "maps")
    if parts > 1 and transposed:
        walk.group(name, "channels", outputs).reason = "it is a grouped convolution"
        return walk.keep([value], f"the grouped convolution {name!r} reads it")
    walk.consumes(name, value, inputs, "maps", dim=0 if transposed else 1, parts=parts)
    result = walk.produces(name, "channels", outputs, "maps", dim=1 if transposed else 0)
    walk.groups[name].repeat(outputs // parts)  # the same units of each of its groups go
    return result


def _slope(walk: _Walk, name: str, module: Any, value: Value) -> Value:
    """PReLU has one number for all channels, or one for each."""
    single = module.num_parameters == 1
    return value if single else walk.scales(name, value, module.num_parameters, "maps last")


def _across(walk: _Walk, name: str, module: Any, value: Value) -> Value:
    """GroupNorm, and LayerNorm over the last dimension: they can be cut, but not exactly."""
    reason = f"{name!r} normalizes across channels, so without one the others change"
    weight, parts = module.weight, getattr(module, "num_groups", 1)
    several = value is not None and len(value.parts) > 1
    if weight is None or weight.ndim > 1 or (several and parts > 1):
        return walk.keep([value], reason)
    layouts = "maps last" if isinstance(module, nn.GroupNorm) else "flat last"
    value = walk.scales(name, value, len(weight), layouts)
    for group, _ in value.parts if value is not None else ():
        group.inexact = reason
        if parts > 1:
            group.repeat(len(weight) // parts)  # the same units of each of its groups go
    return value


def _recurrent(walk: _Walk, name: str, module: Any, value: Value) -> Value:
    reason = "it is recurrent: its units read each other at every step"
    walk.group(name, "neurons", module.hidden_size).reason = reason
    return walk.keep([value], f"the recurrent {name!r} reads it")


def _encoder(walk: _Walk, name: str, module: Any, value: Value) -> Value:
    """PyTorch's own transformer: the neurons of its FFNs; what they read and write stays."""
    for place, layer in module.named_modules():
        if isinstance(layer, nn.TransformerEncoderLayer):
            path = f"{name}.{place}".strip(".")
            neurons = walk.produces(
                f"{path}.linear1", "neurons", layer.linear1.out_features, "last"
            )
            walk.consumes(f"{path}.linear2", neurons, layer.linear2.in_features, "last")
            heads = walk.group(f"{path}.self_attn", "heads", layer.self_attn.num_heads)
            heads.reason = (
                "nn.MultiheadAttention always has heads for its whole width; the same weights in a "
                "BERT of transformers give the same outputs, and there they can go"
            )
    return walk.keep([value], f"the transformer {name!r} reads it")


def _batch_norm(walk: _Walk, name: str, module: Any, value: Value) -> Value:
    if module.weight is None and module.running_mean is None:
        value = walk.keep([value], f"{name!r} has no numbers that could be cut")
    return walk.scales(name, value, module.num_features, "maps flat last")


# --- operations: where the channels are afterward, or a sentence why they must stay ------------


def _unchanged(node: fx.Node, module: Any, values: list[_Channels]) -> _Channels | str:
    return values[0]


def _within_maps(node: fx.Node, module: Any, values: list[_Channels]) -> _Channels | str:
    return values[0] if values[0].layout == "maps" else _unknown(node, module, values)


def _couples(node: fx.Node, module: Any, values: list[_Channels]) -> _Channels | str:
    first, *others = values
    if len(values) < len(node.all_input_nodes):  # the other summand has channels that stay
        return f"'{node.name}' adds it to channels that stay"
    shapes = {(value.layout, tuple(n for _, n in value.parts)) for value in values}
    if len(shapes) > 1:
        return f"'{node.name}' joins values of different shapes"
    for other in others:
        for (group, _), (coupled, _) in zip(first.parts, other.parts, strict=True):
            group.join(coupled)
    return first


def _concatenates(node: fx.Node, module: Any, values: list[_Channels]) -> _Channels | str:
    pieces: Any = node.args[0] if node.args else node.kwargs.get("tensors")
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    layouts = {value.layout for value in values}
    along = {"maps": (1, -3), "flat": (1, -1), "last": (1, -1)}.get(values[0].layout, ())
    if len(values) < len(node.all_input_nodes):
        return f"'{node.name}' puts it beside channels that stay"
    if not isinstance(pieces, (list, tuple)) or dim not in along or len(layouts) > 1:
        return _unknown(node, module, values)
    of_node = dict(zip(node.all_input_nodes, values, strict=True))
    parts = tuple(part for piece in pieces for part in of_node[piece].parts)
    return _Channels(parts, values[0].layout)


def _chunks(node: fx.Node, module: Any, values: list[_Channels]) -> _Channels | str:
    """Pieces of the same size; `_picks` takes one of them."""
    value, arguments = values[0], (*node.args[1:], *node.kwargs.values())
    number, dim = arguments if len(arguments) == 2 else (0, 0)
    picked = all(user.target is operator.getitem for user in node.users)
    if value.layout != "maps" or dim not in (1, -3) or len(value.parts) > 1 or not picked:
        return _unknown(node, module, values)
    ((group, channels),) = value.parts
    if not isinstance(number, int) or number < 1 or channels % number:
        return f"'{node.name}' cuts it into pieces of different sizes"
    group.repeat(channels // number)
    return _Channels(((group, channels // number),) * number, "chunks")


def _picks(node: fx.Node, module: Any, values: list[_Channels]) -> _Channels | str:
    if values[0].layout != "chunks" or not isinstance(node.args[1], int):
        return _unknown(node, module, values)
    return _Channels((values[0].parts[node.args[1]],), "maps")


def _splits(node: fx.Node, module: Any, values: list[_Channels]) -> str:
    return f"'{node.name}' cuts it at fixed places; write x.chunk(number, 1) for equal pieces"


def _flattens(node: fx.Node, module: Any, values: list[_Channels]) -> _Channels | str:
    from_channels: Any  # whether it flattens everything behind the batch, and nothing else
    if module is not None:
        from_channels = (module.start_dim, module.end_dim) == (1, -1)
    elif node.target in ("view", "reshape"):
        from_channels = len(node.args) == 3 and _is_batch_size(node.args[1]) and node.args[2] == -1
    else:
        from_channels = (node.args[1:], node.kwargs) in (((1,), {}), ((), {"start_dim": 1}))
    if not from_channels:
        return _unknown(node, module, values)
    return values[0] if values[0].layout == "last" else _Channels(values[0].parts, "flat")


def _averages_pixels(node: fx.Node, module: Any, values: list[_Channels]) -> _Channels | str:
    dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", ())
    dims = set(dims) if isinstance(dims, (list, tuple)) else {dims}
    keeps = node.kwargs.get("keepdim", False) or len(node.args) > 2
    if values[0].layout != "maps" or keeps or dims not in ({2, 3}, {-1, -2}):
        return _unknown(node, module, values)
    return _Channels(values[0].parts, "last")


def _asks_for_shape(node: fx.Node, module: Any, values: list[_Channels]) -> str | None:
    """Harmless, unless the answer could be the number of channels."""
    harmless = [0, 2, 3, 4, slice(2, None)] if values[0].layout == "maps" else [0]
    args = node.args[1:]
    if node.target == "dim" or args in (("ndim",), ("dtype",), ("device",)):
        return None
    if node.target == "size" and args:
        asks = args[0] not in harmless
    else:
        asks = args not in ((), ("shape",)) or not all(  # such as x.T
            user.target is operator.getitem and (user.args[1] in harmless or not user.users)
            for user in node.users
        )
    return f"'{node.name}' uses how many channels there are" if asks else None


def _unknown(node: fx.Node, module: Any, values: list[_Channels]) -> str:
    place = f"'{node.target}'" if module is not None else f"'{node.name}' ({node.target})"
    return f"it reaches {place}, and what that does to channels is not known"


def _is_batch_size(node: Any) -> bool:
    """Whether it is ``x.size(0)`` or ``x.shape[0]``."""
    asks = isinstance(node, fx.Node) and node.target in ("size", operator.getitem)
    return asks and node.args[1:] == (0,)


# --- everything that is understood: functions, methods (by name) and modules -------------------

LAYERS: Mapping[Any, Callable[[_Walk, str, Any, Value], Value]] = {
    nn.Linear: _linear,
    **dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED), _convolution),
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
    nn.PReLU: _slope,
    **dict.fromkeys((nn.GroupNorm, nn.LayerNorm, nn.RMSNorm), _across),
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU), _recurrent),
    **dict.fromkeys((nn.TransformerEncoder, nn.TransformerEncoderLayer), _encoder),
}
# fmt: off
OPERATIONS: Mapping[Any, Callable[[fx.Node, Any, list[_Channels]], _Channels | str | None]] = {
    **dict.fromkeys((
        nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh,
        nn.Sigmoid, nn.Dropout, F.relu, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.dropout,
        torch.relu, torch.tanh, torch.sigmoid, "relu", "tanh", "sigmoid", "contiguous", "clone",
    ), _unchanged),
    **dict.fromkeys((
        nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
        nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout2d, F.max_pool1d,
        F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d,
        nn.ZeroPad2d, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, F.interpolate,
    ), _within_maps),
    **dict.fromkeys((
        operator.add, operator.iadd, operator.mul, operator.imul, torch.add, torch.mul, "add", "mul",
    ), _couples),
    **dict.fromkeys((nn.Flatten, torch.flatten, "flatten", "view", "reshape"), _flattens),
    **dict.fromkeys((torch.mean, "mean"), _averages_pixels),
    **dict.fromkeys(("size", "dim", getattr), _asks_for_shape),
    **dict.fromkeys((torch.cat, torch.concat), _concatenates),
    **dict.fromkeys((torch.chunk, "chunk"), _chunks),
    **dict.fromkeys((torch.split, "split"), _splits),
    operator.getitem: _picks,
}
# fmt: on


# --- the walk ---------------------------------------------------------------------------------


class _Walk:
    """What is known so far: the groups, the slices that they own, and what must stay whole."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.groups: dict[str, _Members] = {}  # by the layer that produces them
        self.slices: list[tuple[_Members, Slice]] = []
        self.closed: set[tuple[str, int]] = set()  # (module, dim) that meets what must stay whole

    def step(self, node: fx.Node, inputs: list[Value]) -> Value:
        """The value that one operation gives."""
        values = [value for value in inputs if value is not None]
        target: Any = node.target
        module = self.model.get_submodule(target) if node.op == "call_module" else None
        operation = target if module is None else type(module)
        if node.op == "output":
            return self.keep(values, "the model's answer is made of it")
        if operation in LAYERS:
            return LAYERS[operation](self, target, module, values[0] if values else None)
        if not values:
            return None
        result = OPERATIONS.get(operation, _unknown)(node, module, values)
        return self.keep(values, result) if isinstance(result, str) else result

    def keep(self, values: Iterable[Value], reason: str) -> Value:
        """These groups stay whole, and their channels are followed no further."""
        for value in values:
            for group, _ in value.parts if value is not None else ():
                group.reason = group.reason or reason
        return None

    def group(self, name: str, kind: str, units: int) -> _Members:
        """The group of a layer; one that is called again has the same weights, so the same group."""
        return self.groups.setdefault(name, _Members(name, kind, units, len(self.groups)))

    def produces(self, name: str, kind: str, units: int, layout: str, dim: int = 0) -> Value:
        channels = _Channels(((self.group(name, kind, units), units),), layout)
        return self._own(channels, name, weight_dim=dim)

    def consumes(
        self, name: str, value: Value, size: int, layouts: str, dim: int = 1, parts: int = 1
    ) -> None:
        """A weight meets the channels along `dim`, or in each of its `parts` a share of them."""
        value = self._arriving(name, value, dim, size, layouts)
        if value is not None and parts > 1 and len(value.parts) > 1:
            self.keep([value], f"the grouped convolution {name!r} reads several layers")
        elif value is not None:
            for group, _ in value.parts if parts > 1 else ():
                group.repeat(size // parts)
            self._add(value, name, Slice(name, "weight", dim, is_input=True), size, parts)

    def scales(self, name: str, value: Value, size: int, layouts: str) -> Value:
        """A module with numbers of its own for each channel."""
        value = self._arriving(name, value, 0, size, layouts)
        return value and self._own(value, name, size)

    def _own(
        self, channels: _Channels, name: str, size: int | None = None, weight_dim: int = 0
    ) -> Value:
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            if getattr(self.model.get_submodule(name), tensor, None) is not None:
                piece = Slice(name, tensor, weight_dim if tensor == "weight" else 0)
                self._add(channels, name, piece, size or channels.width)
        return channels

    def _add(self, value: _Channels, name: str, piece: Slice, size: int, parts: int = 1) -> None:
        """What each group owns of a dimension; until `result` knows the units, repeats are channels."""
        offset, pixels = 0, size // value.width
        for group, channels in value.parts:
            channels //= parts
            own = replace(piece, unit_size=pixels, repeats=channels, offset=offset)
            self.slices.append((group, own))
            offset += channels * pixels

    def _arriving(self, name: str, value: Value, dim: int, size: int, layouts: str) -> Value:
        """The channels that meet `dim` of a module, if it is clear how they lie there."""
        if value is not None:
            fits = size == value.width or (value.layout == "flat" and size % value.width == 0)
            if value.layout not in layouts or not fits:
                value = self.keep([value], f"the way its channels reach {name!r} is not known")
        if value is None:
            self.closed.add((name, dim))
        return value

    def join_repeated_calls(self) -> None:
        """A module that is called twice reads two values with the same weights."""
        calls: dict[tuple[str, str, int], dict[int, dict[tuple[int, int], list[_Members]]]] = {}
        for group, piece in self.slices:
            offsets = calls.setdefault((piece.module, piece.tensor, piece.dim), {})
            extents = offsets.setdefault(piece.offset, {})
            extents.setdefault((piece.unit_size, piece.repeats), []).append(group)
        for (module, _, dim), offsets in calls.items():
            members = [
                m for extents in offsets.values() for found in extents.values() for m in found
            ]
            if (module, dim) in self.closed or any(
                len(extents) > 1 for extents in offsets.values()
            ):
                for group in members:
                    group.reason = f"{module!r} is called with different kinds of channels"
            for extents in offsets.values():
                for first, *others in extents.values():
                    for other in others:
                        first.join(other)

    def keep_shared_weights(self, used_directly: Iterable[Any]) -> None:
        """What two modules share, or a forward uses by itself, cannot be cut for one of them."""
        direct = {id(tensor) for tensor in used_directly}
        owners: dict[int, list[str]] = {}
        for name, module in self.model.named_modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                owners.setdefault(id(tensor), []).append(name)
        for group, piece in self.slices:
            tensor = piece.tensor_in(self.model)
            others = [name for name in owners[id(tensor)] if name != piece.module]
            if others or id(tensor) in direct:
                other = repr(others[0]) if others else "the forward of another module"
                group.reason = f"{piece.module!r} shares its {piece.tensor} with {other}"

    def result(self) -> tuple[dict[str, Group], dict[str, str]]:
        reasons = {group.root: group.reason for group in self.groups.values() if group.reason}
        inexact = {group.root: group.inexact for group in self.groups.values() if group.inexact}
        slices: dict[_Members, dict[Slice, None]] = {}  # an ordered set: repeated calls repeat one
        for group, piece in self.slices:
            runs = piece.repeats // group.root.units
            slices.setdefault(group.root, {})[replace(piece, repeats=runs)] = None
        removable, fixed = {}, {}
        for name, group in self.groups.items():
            if group.root in reasons:
                fixed[name] = reasons[group.root]
            elif group.root is group:
                found = Group(name, group.kind, group.units, tuple(slices[group]))
                removable[name] = replace(found, inexact=inexact.get(group, ""))
        return removable, fixed


def _trace(model: nn.Module) -> fx.Graph:
    tracer = fx.Tracer()
    try:
        return tracer.trace(model)
    except Exception as error:
        # The modules that it was in when it failed; none: the model's own forward.
        name, kind = next(reversed(tracer.module_stack.values()), ("", type(model)))
        place = f"{name!r}, a {kind.__name__}," if name else kind.__name__
        raise ValueError(
            f"{place} could not be traced by torch.fx: {error}{_line(error)}. Its forward must not "
            "depend on the values of its input."
        ) from error


def _line(error: Exception) -> str:
    """The line outside PyTorch that stands in the way."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "torch" not in Path(f.filename).parts and f.filename != __file__]
    return f", at `{own[-1].line}` (line {own[-1].lineno})" if own else ""
