"""The widths of a smaller transformer in its config, where that has a field for them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from course_lib.structured.transformers import SIZES, placed_groups, stacks_of
from course_lib.structured.units import Group

SHORT = "n_inner", "d_inner", "hidden_dim", "d_ff", "ffn_dim"
FFN_FIELDS = "ffn_hidden_size", "intermediate_size", *SHORT


def note_widths_(model: Any) -> None:
    """Note the widest FFN, and the number of heads if all layers have as many.

    Many configs have no field for the size of a head: it is the width divided by the number of heads.
    There the number stays, and `load` cuts the heads of a model that was built from the config.
    """
    widths: dict[tuple[int, str], tuple[Any, str, int]] = {}
    heads: dict[int, tuple[Any, list[Group]]] = {}
    for path, config, group in _groups_by_config(model):
        if group.kind == "heads":
            heads.setdefault(id(config), (config, []))[1].append(group)
            continue
        sides = [f"{side}_ffn_dim" for side in ("encoder", "decoder") if side in path]
        field = next((name for name in (*sides, *FFN_FIELDS) if hasattr(config, name)), None)
        if field is not None:
            _, _, widest = widths.get((id(config), field), (config, field, 0))
            widths[id(config), field] = config, field, max(widest, group.units)
    for config, field, widest in widths.values():
        setattr(config, field, widest)
    for config, of_config in heads.values():
        _note_heads_(model, config, of_config)


def _groups_by_config(model: nn.Module) -> Iterator[tuple[str, Any, Group]]:
    """Each group with its stack's path, for every config above it: T5's encoder has a copy."""
    stacks = stacks_of(model)
    for layouts in placed_groups(model).values():
        if not isinstance(layouts, str):
            group = layouts[0]
            path = next(p for p in stacks if group.slices[-1].module.startswith(f"{p}."))
            names = path.split(".")
            above = [model.get_submodule(".".join(names[:n])) for n in range(len(names))]
            configs = {id(m.config): m.config for m in above if hasattr(m, "config")}
            for config in configs.values():
                yield path, config, group


def _note_heads_(model: nn.Module, config: Any, groups: list[Group]) -> None:
    numbers = set()
    for group in groups:
        for reader in (piece for piece in group.slices if piece.is_input):
            attention = _attention(model, reader.module)
            source = inspect.getsource(type(attention).__init__)
            if not re.search(r'config(\.|, ")(head_dim|d_kv)\b', source):
                return
            size = next(getattr(attention, name) for name in SIZES if hasattr(attention, name))
            numbers.add((group.units * reader.unit_size // size, size))
    old = getattr(config, "num_attention_heads", 0)
    if len(numbers) != 1 or not old:
        return
    ((number, size),) = numbers
    if number != old:
        shared = getattr(config, "num_key_value_heads", None)
        if shared is not None:
            config.num_key_value_heads = max(1, shared * number // old)
        config.num_attention_heads, config.head_dim = number, size


def _attention(model: nn.Module, reader: str) -> Any:
    """The module around an output projection that knows the size of a head."""
    parent = model.get_submodule(reader.rpartition(".")[0])
    modules = [parent, *parent.modules()]
    return next((m for m in modules if any(hasattr(m, name) for name in SIZES)), parent)
