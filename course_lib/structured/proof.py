"""Is a place the right one? A removed copy must equal a masked one on a random input.

Names and shapes do not tell how a matrix is laid out, or what else depends on the number of heads. So
some units of every group are removed and masked, and both models run: the outputs of each layer that
reads such units, and the model's own, must be the same.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from course_lib.modules import evaluating
from course_lib.structured.cutting import cut, zeroed
from course_lib.structured.units import Group

CLOSE = {torch.float64: 1e-10, torch.float32: 1e-5}  # of the largest number; half precision: 32 ε

Outputs = dict[str, list[Tensor]]  # by the layer; "" for the model's own


def proven(
    model: PreTrainedModel, layouts: Mapping[str, list[Group] | str]
) -> tuple[dict[str, Group], dict[str, str]]:
    """The groups whose layout is right, and for the others why they must stay.

    Raises:
        ValueError: the model cannot be run on a random input.
    """
    fixed = {name: reason for name, reason in layouts.items() if isinstance(reason, str)}
    rest = {n: list(options) for n, options in layouts.items() if not isinstance(options, str)}
    example = random_input(model)
    while rest:
        groups = {name: options[0] for name, options in rest.items()}
        wrong, reason = _first_difference(model, groups, example)
        if not wrong:
            return groups, fixed
        for name in [name for name in rest if _alike(name, wrong)]:
            del rest[name][0]
            if not rest[name]:
                fixed[name] = reason
                del rest[name]
    return {}, fixed


def _alike(a: str, b: str) -> bool:
    """The same place in another layer has the same layout."""
    return re.sub(r"\d+", "", a) == re.sub(r"\d+", "", b)


def _first_difference(
    model: PreTrainedModel, groups: Mapping[str, Group], example: dict[str, Tensor]
) -> tuple[str, str]:
    """The first group, in the order of the forward pass, that is not exact, and the reason."""
    generator = torch.Generator().manual_seed(0)
    chosen = []
    for group in groups.values():
        units = torch.randperm(group.units, generator=generator)[: (group.units + 1) // 2]
        chosen.append((group, units.sort().values))
    readers = {s.module: name for name, g in groups.items() for s in g.slices if s.is_input}
    wide, failure = _run(model, readers, example, zeroed(model, chosen))
    if failure:
        raise ValueError(
            f"{type(model).__name__} could not be run on a random input, so nothing can be proven: "
            f"{failure}."
        )
    small, failure = _run(cut(model, chosen, share_tensors=True), readers, example, {})
    for reader in wide:
        gap = _gap(wide[reader], small.get(reader, []))
        if not gap <= CLOSE.get(model.dtype, 32 * torch.finfo(model.dtype).eps):
            what = f"differs by {gap:.1g} of the largest output from a masked one"
            what = f"cannot be run ({failure})" if reader not in small and failure else what
            place = f"the output of {reader!r}" if reader else "the model's output"
            name = readers.get(reader) or next(iter(groups))
            return name, f"a copy without some of them {what}, at {place}"
    unread = {name for reader, name in readers.items() if reader not in wide}
    return next(iter(unread), ""), "a random input does not reach them, so nothing can be proven"


def difference(model: nn.Module, weights: Any, small: nn.Module, example: Any) -> float:
    """How far a smaller model's outputs are from those of the model with these weights.

    It is the largest difference, as a share of the largest output.

    Raises:
        ValueError: a model cannot be run on the example.
    """
    wide, failure = _run(model, {}, example, weights)
    narrow, second = _run(small, {}, example, {})
    if failure or second:
        raise ValueError(
            f"{type(model).__name__} cannot be run on the example: {failure or second}."
        )
    return _gap(wide[""], narrow[""])


def _run(
    model: nn.Module, readers: Mapping[str, str], example: Any, weights: Any
) -> tuple[Outputs, str]:
    """What each reader answers, in the order of the forward pass, and the error that ended it."""
    outputs: Outputs = {}

    def record(name: str) -> Any:
        return lambda _m, _x, y: outputs.setdefault(name, []).append(y.detach())

    hooks = [model.get_submodule(name).register_forward_hook(record(name)) for name in readers]
    try:
        with torch.no_grad(), evaluating(model), torch.random.fork_rng():
            torch.manual_seed(0)
            inputs = ((), example) if isinstance(example, Mapping) else (example,)
            output = functional_call(model, weights, *inputs)
        outputs[""] = _tensors(output)
    except Exception as error:  # whatever a forward raises when a size does not fit
        return outputs, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, ""


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    values = output.values() if isinstance(output, Mapping) else output
    parts = values if isinstance(output, (Mapping, tuple, list)) else ()
    return [tensor for value in parts for tensor in _tensors(value)]


def _gap(a: list[Tensor], b: list[Tensor]) -> float:
    """The largest difference, as a share of the largest number; infinite where shapes differ."""
    if [tensor.shape for tensor in a] != [tensor.shape for tensor in b]:
        return math.inf
    pairs = zip(a, b, strict=True)
    gaps = [((x - y).abs().max() / x.abs().max().clamp(min=1e-30)).item() for x, y in pairs]
    return math.nan if any(map(math.isnan, gaps)) else max(gaps, default=0.0)


def random_input(model: PreTrainedModel, seed: int = 0) -> dict[str, Any]:
    """One random example for whatever the model reads: tokens, a picture, or sound."""
    takes = inspect.signature(model.forward).parameters
    generator = torch.Generator().manual_seed(seed)
    text: Any = model.config.get_text_config()
    picture: Any = getattr(model.config, "vision_config", model.config)
    example: dict[str, Any] = {}

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def tokens(length: int = 8) -> Tensor:
        words = torch.randint(
            text.vocab_size // 2, text.vocab_size, (1, length), generator=generator
        )
        words[words == getattr(text, "pad_token_id", None)] = text.vocab_size // 3
        end = getattr(text, "eos_token_id", None)
        if isinstance(end, int) and 0 <= end < text.vocab_size:
            words[:, -1] = end  # some models look for it
        return words

    if "input_ids" in takes:
        example["input_ids"] = tokens()
    if "pixel_values" in takes:
        size = picture.image_size
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        example["pixel_values"] = numbers(1, getattr(picture, "num_channels", 3), height, width)
    if "input_values" in takes:
        example["input_values"] = numbers(1, 16 * math.prod(model.config.conv_stride))
    if "input_features" in takes:
        config: Any = model.config
        example["input_features"] = numbers(1, config.num_mel_bins, 2 * config.max_source_positions)
    if getattr(model.config, "add_cross_attention", False) and "encoder_hidden_states" in takes:
        example["encoder_hidden_states"] = numbers(1, 6, model.config.hidden_size)
    if "decoder_input_ids" in takes:
        example["decoder_input_ids"] = tokens(6)
    example = {
        key: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for key, value in example.items()
    }
    return example | ({"use_cache": False} if "use_cache" in takes else {})
