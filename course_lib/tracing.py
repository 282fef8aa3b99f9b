"""Groups of neurons and channels, found by following them through a module's traced graph."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from course_lib.units import BATCH_NORMS, CONVOLUTIONS, Group, Slice

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


def traced_groups(model: nn.Module) -> tuple[dict[str, Group], dict[str, str]]:
    """The groups that can be removed, by name, and for every other layer why it must stay.

    Explained in lesson 2.

    Raises:
        ValueError: `torch.fx` cannot trace the model; names the module in which it failed.

    Example:
        >>> found, fixed = traced_groups(nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)))
        >>> list(found), fixed
        (['0'], {'2': "the model's answer is made of it"})
    """
    return _Trace(model).result()


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
