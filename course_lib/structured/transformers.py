"""Where a transformer keeps its heads and FFN neurons: found by the roles of its linear layers.

Names and shapes only suggest a place; `proof` then shows on the model itself whether it is the right
one. No class of `transformers` is named here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from course_lib.structured.units import Group, Slice

LINEAR = (nn.Linear, Conv1D)
# The roles, by the names of layers.
HEADS_IN = re.compile(
    r"(pos_)?(q|k|v|query|key|value)(_proj|_lin|_global)?|pos(_q)?_proj"
    r"|c_attn|in_proj|[wW]?qkv(_proj)?|query_key_value"  # all three in one matrix
)
FFN_IN = re.compile(
    r"(.*\.)?(intermediate[._]dense|ffn|fc_?1|fc_in|c_fc|lin(ear)?_?1|layer_1|[wW]i(_[01])?|w[13]"
    r"|dense_h_to_4h|(gate|up|gate_up)_proj|weights_in)"
)
FFN_OUT = re.compile(
    r"(.*\.)?(output[._]dense|ffn_output|fc_?2|fc_out|c_proj|lin(ear)?_?2|layer_2|[wW]o|w2"
    r"|dense_4h_to_h|down_proj|weights_out)"
)
POSITION_BIAS = re.compile(r".*(relative|position).*bias.*")  # a table with a column for each head
ACROSS_HEADS = re.compile(r"(q|k|query|key)(_layer)?_?norm")
SIZES = "head_dim", "attention_head_size", "head_size", "key_value_proj_dim"  # of one head
COUNTS = re.compile(  # the numbers that change with them
    r"(num|n)_(attention_|key_value_|kv_)?heads?|all_head_size|split_size|inner_dim|intermediate_size"
)

Layouts = list[Group] | str  # how a group could lie in its tensors, or why it must stay


def stacks_of(model: nn.Module) -> dict[str, nn.ModuleList]:
    """Path → list of like layers with attention; an encoder–decoder has two of them.

    Raises:
        ValueError: there is none.
    """
    lists = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len({type(layer) for layer in module}) == 1
        and any("att" in name.lower() for name, _ in module[0].named_modules())
    }
    inner = {p: m for p, m in lists.items() if not any(q.startswith(f"{p}.") for q in lists)}
    if not inner:
        raise ValueError(
            f"{type(model).__name__} has no list of like layers with attention in them, so it has no "
            "heads or FFN neurons that could be placed."
        )
    return inner


def layers_of(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Path and list of a transformer's layers.

    Raises:
        ValueError: there are several such lists, or none.
    """
    path, *others = stacks_of(model)
    if others:
        raise ValueError(
            f"{type(model).__name__} has several lists of layers, {', '.join((path, *others))}; its "
            "layers cannot be removed, because the parts read each other."
        )
    return path, model.get_submodule(path)  # type: ignore[return-value]


def placed_groups(model: nn.Module) -> dict[str, Layouts]:
    """The attention heads and FFN neurons of each layer, by name: the layouts that each could have."""
    found: dict[str, Layouts] = {}
    stacks = stacks_of(model)
    for path, layers in stacks.items():
        prefix = _prefix(path, list(stacks))
        for i in range(len(layers)):
            here = f"{prefix}layer.{i}."
            for kind, place, layouts in _places(model, f"{path}.{i}"):
                block = re.sub(r"^layer\.\d+\.|\.(self|attn)$", "", place)
                first = here + kind not in found
                found[here + kind if first else f"{here}{block}.{kind}"] = layouts
            missing = f"no query, key and value projections were found in '{path}.{i}'"
            found.setdefault(f"{here}heads", missing)
        _tie_by_position_bias(model, path, prefix, found)
    return {
        name: layouts if isinstance(layouts, str) else [replace(g, name=name) for g in layouts]
        for name, layouts in found.items()
    }


def _prefix(path: str, paths: list[str]) -> str:
    """What tells a stack from the others: "encoder." of ``model.encoder.layers``."""
    if len(paths) == 1:
        return ""
    words = [other.split(".") for other in paths]
    first = _in_common(words)
    last = _in_common([other[first:][::-1] for other in words])
    own = path.split(".")
    first -= own[first].isdigit()  # "layers.0.", not "0."
    return ".".join(own[first : len(own) - last]) + "."


def _places(model: nn.Module, path: str) -> Iterator[tuple[str, str, Layouts]]:
    """The attentions and FFNs of one layer: kind, place inside the layer, and layouts."""
    layer = model.get_submodule(path)
    rest = [name for name, module in layer.named_modules() if isinstance(module, LINEAR)]
    for place, attention in layer.named_modules():
        inputs = [name for name, _ in attention.named_children() if HEADS_IN.fullmatch(name)]
        inputs = [f"{place}.{name}" for name in inputs if f"{place}.{name}" in rest]
        if inputs:
            rest = [name for name in rest if name not in inputs]
            within = [name for name in rest if name.startswith(f"{place}.")]
            around = [name for name in rest if name.startswith(place.rpartition(".")[0])]
            out = next(iter(within + around), "")
            rest = [name for name in rest if name != out]
            try:
                yield "heads", place, _heads(model, path, place, inputs, out)
            except ValueError as reason:
                yield "heads", place, str(reason)
    partner = {  # of each first layer, the nearest second one
        up: max(downs, key=lambda down: len(_shared(up, down)))
        for up in rest
        if FFN_IN.fullmatch(up) and (downs := [name for name in rest if FFN_OUT.fullmatch(name)])
    }
    for down in dict.fromkeys(partner.values()):
        ups = [up for up, nearest in partner.items() if nearest == down]
        yield "ffn", _shared(ups[0], down), _ffn(model, path, ups, down)


def _shared(a: str, b: str) -> str:
    words = a.split("."), b.split(".")
    return ".".join(words[0][: _in_common(words)])


def _in_common(paths: Sequence[list[str]]) -> int:
    """How many words all paths start with."""
    alike = (len(set(words)) == 1 for words in zip(*paths, strict=False))
    return len(list(takewhile(bool, alike)))


def _heads(model: nn.Module, path: str, place: str, inputs: list[str], out: str) -> list[Group]:
    """The layouts of one attention. Its unit is a key–value head with the queries that use it."""
    layer, name = model.get_submodule(path), f"{path}.{place}"
    attention: Any = layer.get_submodule(place)
    size = next((getattr(attention, a) for a in SIZES if hasattr(attention, a)), 0)
    total = _width(layer, out, 1) if out else 0
    if not isinstance(size, int) or size < 1 or total % size or not total:
        raise ValueError(f"the number of heads in {name!r} and their size are not known")
    heads, widths = total // size, [_width(layer, one, 0) for one in inputs]
    fused = [width for width in widths if width > total]
    shared = [(w - total) // 2 if w in fused else w for w in widths if w != total]
    units = min(shared, default=total) // size
    for norm, module in attention.named_children():
        if ACROSS_HEADS.fullmatch(norm) and module.weight.numel() > size:
            raise ValueError(f"'{name}.{norm}' takes a mean over all heads, so none can go")
    possible = {total, units * size, total + 2 * units * size}
    if heads % units or set(widths) - possible:
        raise ValueError(f"{inputs} in {path!r} have {widths} outputs, and {out!r} {total} inputs")
    single = units == 1 < heads  # one key and value for all queries: these stay
    if single:
        units = heads
    of_q, of_kv = total // units, 0 if single else min(shared, default=total) // units
    consumer = Slice(f"{path}.{out}", "weight", _dim(layer, out, 1), of_q, is_input=True)
    layouts = []
    for interleaved in (False, True) if fused else (False,):
        slices: list[Slice] = []
        for one, width in zip(inputs, widths, strict=True):
            if width == total:
                slices += _producer(layer, path, one, of_q)
            elif width not in fused:
                slices += _producer(layer, path, one, of_kv) if of_kv else ()
            elif interleaved:  # head after head, each with its query, key and value
                slices += _producer(layer, path, one, of_q + 2 * of_kv)
            elif of_q == of_kv:
                slices += _producer(layer, path, one, of_q, 3)
            else:  # all queries, then all keys, then all values
                slices += _producer(layer, path, one, of_q)
                slices += _producer(layer, path, one, of_kv, 2, total) if of_kv else ()
        for parameter, tensor in attention.named_parameters(recurse=False):
            if tensor.ndim == 1 and len(tensor) == total:
                slices.append(Slice(name, parameter, 0, of_q))
        counts = _counts(name, attention, {units: 1, heads: of_q // size, total: of_q})
        layouts.append(Group("", "heads", units, (*slices, consumer), counts))
    return layouts


def _ffn(model: nn.Module, path: str, ups: list[str], down: str) -> Layouts:
    """The layouts of one feed-forward network; a gate is cut with what it multiplies."""
    layer, units = model.get_submodule(path), _width(model, f"{path}.{down}", 1)
    widths = [_width(layer, up, 0) for up in ups]
    if any(width not in (units, 2 * units) for width in widths):
        return f"{ups} in {path!r} have {widths} outputs, and {down!r} {units} inputs"
    block = f"{path}.{_shared(ups[0], down)}".rstrip(".")
    counts = _counts(block, model.get_submodule(block), {units: 1})
    consumer = Slice(f"{path}.{down}", "weight", _dim(layer, down, 1), is_input=True)
    layouts = []
    for interleaved in (False, True) if 2 * units in widths else (False,):
        slices: list[Slice] = []
        for up, width in zip(ups, widths, strict=True):
            both = width // units
            slices += _producer(layer, path, up, *((both, 1) if interleaved else (1, both)))
        layouts.append(Group("", "feed-forward units", units, (*slices, consumer), counts))
    return layouts


def _tie_by_position_bias(
    model: nn.Module, path: str, prefix: str, found: dict[str, Layouts]
) -> None:
    """Add tables of position biases to the heads. One table for all layers ties all their heads."""
    parent = path.rpartition(".")[0]
    own: dict[str, list[Slice]] = {}  # by group; "" for a table that no layer has to itself
    layers = len(model.get_submodule(path))  # type: ignore[arg-type]
    for name, tensor in model.get_submodule(parent).named_parameters():
        full = f"{parent}.{name}".lstrip(".")
        if tensor.ndim == 2 and POSITION_BIAS.fullmatch(name):
            inside = re.match(rf"{re.escape(path)}\.(\d+)\.", full)
            module, _, parameter = full.rpartition(".")
            group = f"{prefix}layer.{inside[1]}.heads" if inside else ""
            own.setdefault(group, []).append(Slice(module, parameter, 1))
    names = [f"{prefix}layer.{i}.heads" for i in range(layers)]
    if not own or any(isinstance(found.get(name, ""), str) for name in names):
        return
    groups: Any = {name: found[name][0] for name in names}
    if "" not in own and len(own) == layers:
        for name, tables in own.items():
            found[name] = [_with_tables(groups[name], tables)]
        return
    for name in names:
        del found[name]
    tables = [table for tables in own.values() for table in tables]
    found[f"{prefix}heads"] = [_with_tables(_tied(groups.values()), tables)]
    # The bias of cross-attention, all zeros, is made by the first layer and handed to the others, too.
    crossed: dict[str, list[Group]] = {}
    for name, layouts in list(found.items()):
        inside = re.fullmatch(rf"{re.escape(prefix)}layer\.\d+\.(.+\.heads)", name)
        if inside and not isinstance(layouts, str):
            crossed.setdefault(inside[1], []).append(layouts[0])
            del found[name]
    found |= {f"{prefix}{block}": [_tied(parts)] for block, parts in crossed.items()}


def _tied(groups: Collection[Group]) -> Group:
    """One group of the heads of all layers."""
    slices = tuple(one for group in groups for one in group.slices)
    counts = tuple(one for group in groups for one in group.counts)
    return Group("", "heads", next(iter(groups)).units, slices, counts)


def _with_tables(group: Group, tables: list[Slice]) -> Group:
    return replace(group, slices=(*tables, *group.slices))


def _counts(name: str, module: nn.Module, sizes: dict[int, int]) -> Any:
    """The numbers that a module notes beside its tensors, and by how much each unit changes them."""
    return tuple(
        (name, attribute, sizes[value])
        for attribute, value in vars(module).items()
        if type(value) is int and value in sizes
        if COUNTS.fullmatch(attribute)
    )


def _dim(model: nn.Module, name: str, dim: int) -> int:
    """The dimension of the weight that holds the outputs (0) or inputs (1)."""
    return 1 - dim if isinstance(model.get_submodule(name), Conv1D) else dim  # it is transposed


def _width(model: nn.Module, name: str, dim: int) -> int:
    """The number of a layer's outputs (0) or inputs (1)."""
    return model.get_parameter(f"{name}.weight").shape[_dim(model, name, dim)]


def _producer(
    layer: nn.Module, path: str, name: str, size: int, repeats: int = 1, offset: int = 0
) -> Iterator[Slice]:
    place = f"{path}.{name}"
    yield Slice(place, "weight", _dim(layer, name, 0), size, repeats, offset=offset)
    if layer.get_submodule(name).bias is not None:
        yield Slice(place, "bias", 0, size, repeats, offset=offset)
