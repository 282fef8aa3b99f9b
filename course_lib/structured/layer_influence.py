"""How much each layer of a transformer changes the hidden states that pass through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from course_lib.batching import batches
from course_lib.modules import device_of, evaluating, forward
from course_lib.structured.transformers import layers_of


def block_influence(model: PreTrainedModel, dataset: Dataset) -> Tensor:
    """1 − cosine between what enters a layer and what leaves it: the mean over tokens ``[layers]``.

    A layer that hardly turns the hidden states has a low influence, and may be one to drop with
    `remove_layers`. No gradient is needed. Men et al. 2024 (*ShortGPT*), equation 1. Explained in
    lesson 7.

    Args:
        model: a transformer with one list of layers; it is left alone.
        dataset: some ten examples without padding, never the test set.

    Raises:
        ValueError: no examples, or several lists of layers.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from transformers import LlamaConfig, LlamaModel
        >>> sizes = dict(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=3)
        >>> tiny = LlamaModel(LlamaConfig(**sizes, num_attention_heads=2))
        >>> block_influence(tiny, TensorDataset(torch.ones(2, 4).long())).shape
        torch.Size([3])
    """
    _, layers = layers_of(model)
    totals, tokens = torch.zeros(len(layers), dtype=torch.double), 0

    def watch(i: int) -> Callable[[Any, tuple[Tensor, ...], Any], None]:
        def hook(_module: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
            # The model's own list of hidden states ends behind its last norm, so it cannot serve here.
            left = output[0] if isinstance(output, tuple) else output
            turned = 1 - F.cosine_similarity(inputs[0].float(), left.float(), dim=-1)
            totals[i] += float(turned.sum())

        return hook

    base = getattr(model, model.base_model_prefix, model)  # without the logits
    hooks = [layer.register_forward_hook(watch(i)) for i, layer in enumerate(layers)]
    try:
        with evaluating(model), torch.inference_mode():
            for batch in batches(dataset, 8, device=device_of(model)):
                tokens += forward(base, batch).last_hidden_state[..., 0].numel()
    finally:
        for hook in hooks:
            hook.remove()
    return totals / tokens
