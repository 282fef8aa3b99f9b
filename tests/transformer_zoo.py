"""Tiny transformers of every family, each built by its own config class, and a batch for each."""

from typing import Any

import torch
import transformers as t
from torch import nn

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 32,
}
ENDS: dict[str, Any] = {"bos_token_id": 2, "eos_token_id": 3}  # inside this vocabulary
TINY: dict[str, Any] = {
    "bert": lambda: t.BertForSequenceClassification(t.BertConfig(**SIZES)),
    "bert-mlm": lambda: t.BertForMaskedLM(t.BertConfig(**SIZES)),
    "bert-base-model": lambda: t.BertModel(t.BertConfig(**SIZES)),
    "distilbert": lambda: t.DistilBertForSequenceClassification(
        t.DistilBertConfig(
            vocab_size=40, dim=24, n_layers=3, n_heads=4, hidden_dim=20, max_position_embeddings=32
        )
    ),
    "roberta": lambda: t.RobertaForSequenceClassification(t.RobertaConfig(**SIZES)),
    "electra": lambda: t.ElectraForSequenceClassification(
        t.ElectraConfig(**SIZES, embedding_size=12)
    ),
    "vit": lambda: t.ViTForImageClassification(
        t.ViTConfig(**{k: v for k, v in SIZES.items() if k[0] in "hni"}, image_size=8, patch_size=4)
    ),
    "gpt2": lambda: t.GPT2LMHeadModel(
        t.GPT2Config(
            vocab_size=40, n_embd=24, n_layer=3, n_head=4, n_inner=20, n_positions=32, **ENDS
        )
    ),
    "gpt2-classifier": lambda: t.GPT2ForSequenceClassification(
        t.GPT2Config(
            vocab_size=40, n_embd=24, n_layer=3, n_head=4, n_positions=32, pad_token_id=0, **ENDS
        )
    ),
}


def tiny(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> t.PreTrainedModel:
    """In eval mode, with weights and biases large enough that every part of it matters."""
    torch.manual_seed(seed)
    model = TINY[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.to(dtype)


def without_dropout(model: t.PreTrainedModel) -> t.PreTrainedModel:
    """The same model: two processes, or a GPU, would drop other numbers than one CPU."""
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def batch_for(model: nn.Module, dtype: torch.dtype = torch.float32, n: int = 3) -> dict[str, Any]:
    """Three examples; texts of different lengths, so that there is padding."""
    torch.manual_seed(7)
    if model.config.model_type == "vit":
        return {"pixel_values": torch.randn(n, 3, 8, 8, dtype=dtype)}
    ids = torch.randint(5, 40, (n, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    ids[1, 6:] = 1 if model.config.model_type == "roberta" else 0
    return {"input_ids": ids, "attention_mask": mask}


def answer(model: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
    """Everything the model says where the batch is no padding, as one tensor."""
    with torch.inference_mode():
        said = model(**batch, output_hidden_states=True)
    hidden = said.hidden_states[-1]
    first = said[0]
    if "attention_mask" in batch:
        real = batch["attention_mask"].bool()
        hidden = hidden[real]
        first = first[real] if first.shape[:2] == real.shape else first
    return torch.cat([first.flatten(), hidden.flatten()])


def letters() -> Any:
    """A tokenizer of single letters."""
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz.,!?-'\"()",
    ]
    return t.BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)})


def assert_same(a: nn.Module, b: nn.Module) -> None:
    """Names, types and bits."""
    old, new = a.state_dict(), b.state_dict()
    assert old.keys() == new.keys()
    for name in old:
        assert old[name].dtype == new[name].dtype
        assert torch.equal(old[name], new[name]), name
