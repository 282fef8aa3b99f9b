"""How fast a language model reads a prompt (prefill) and writes an answer (decode)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from course_lib.evaluation.accuracy import Shown
from course_lib.evaluation.timing import Latency, latency
from course_lib.modules import device_of


@dataclass(frozen=True, repr=False)
class Generation(Shown):
    """Milliseconds to read a prompt of `read` tokens, and to write `written` tokens one by one.

    `evaluation.speedup` compares the `prefill` or the `decode` of two models.
    """

    prefill: Latency
    decode: Latency
    read: int
    written: int

    @property
    def prefill_rate(self) -> float:
        """Tokens of the prompt per second."""
        return 1000 * self.read / self.prefill.median

    @property
    def decode_rate(self) -> float:
        """Written tokens per second."""
        return 1000 * self.written / self.decode.median

    def __repr__(self) -> str:
        return (
            f"{self.decode_rate:.3g} tokens/s (prefill {self.prefill_rate:,.4g} tokens/s, "
            f"{self.read} read, {self.written} written, {self.decode.setting})"
        )


def generation_speed(
    models: Mapping[str, Any], prompt: Tensor, written: int = 8, rounds: int = 6
) -> dict[str, Generation]:
    """Prefill and decode of several models, measured in turns on the same prompt.

    Prefill computes all tokens of the prompt at once, and is limited by arithmetic. Decode computes one
    token at a time, with the keys and values of the earlier ones from a cache, and has to read all
    weights for each. A quantized or pruned model gains differently in the two. Lesson 7.

    Args:
        models: name → causal language model of `transformers`.
        prompt: token ids ``[1, length]``.
        written: tokens to write, greedily (default 8).
        rounds: samples for each model (default 6, at least 4).

    Raises:
        ValueError: a prompt of another shape, or nothing to write; and what `latency` raises.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = dict(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1)
        >>> tiny = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))
        >>> generation_speed({"tiny": tiny}, torch.ones(1, 4).long(), 2, 4)["tiny"].written
        2
    """
    if prompt.ndim != 2 or len(prompt) != 1 or written < 1:
        raise ValueError(
            f"The prompt is {list(prompt.shape)} and {written} tokens are to be written; expected "
            "token ids [1, length] and 1 or more."
        )
    found = {}
    for part in (_prefill, _decode):
        found[part] = latency({n: part(m, written) for n, m in models.items()}, prompt, rounds)
    read = prompt.shape[1]
    pairs = {name: (found[_prefill][name], found[_decode][name]) for name in models}
    return {name: Generation(*both, read, written) for name, both in pairs.items()}


def _prefill(model: Any, _written: int) -> Callable[[Tensor], Any]:
    def run(ids: Tensor) -> Any:
        # Only the last token's logits are needed to go on.
        return model.eval()(ids.to(device_of(model)), use_cache=True, logits_to_keep=1)

    return run


def _decode(model: Any, written: int) -> Callable[[Tensor], Any]:
    """Writes again and again after the same prompt, which is read once, outside the clock."""
    state: list[Any] = []

    def run(ids: Tensor) -> Tensor:
        if not state:
            state.append(_prefill(model, 0)(ids))
        cache, token = state[0].past_key_values, state[0].logits[:, -1:].argmax(-1)
        for _ in range(written):
            output = model(token, past_key_values=cache, use_cache=True)
            token = output.logits[:, -1:].argmax(-1)
        cache.crop(-written)  # forget what was written
        return token

    return run
