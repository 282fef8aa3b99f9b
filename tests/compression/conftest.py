"""A small classifier, an encoder and texts, as a person brings them to `compress`."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from labeled_texts import written

from course_lib.compression import Options
from course_lib.datasets.custom_data import read_examples
from course_lib.datasets.tokenization import tokenize
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "great", "dull", "film", "so", "fine"]
TOKENS = PIECES + [p + letter for letter in string.ascii_lowercase for p in ("", "##")]


@pytest.fixture(scope="session")
def quick() -> Options:
    return Options(max_length=12, reads=64, scored_on=16, rounds=4)


@pytest.fixture(autouse=True)
def own_cache(cache_folder):
    """What one test has made is not found by the next one."""


@pytest.fixture(scope="session")
def texts(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("texts"), n=260)


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    words = t.BertTokenizerFast(vocab={token: i for i, token in enumerate(TOKENS)})
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def config() -> t.BertConfig:
    return t.BertConfig(
        vocab_size=len(TOKENS), pad_token_id=0, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip


@pytest.fixture(scope="session")
def classifier(tmp_path_factory, texts, config) -> Path:
    """A folder with a trained classifier."""
    torch.manual_seed(0)
    words = t.BertTokenizerFast(vocab={token: i for i, token in enumerate(TOKENS)})
    train = {"train": tokenize(read_examples(texts)["train"], words)}
    model = t.BertForSequenceClassification(config)
    fitted = fit(model, train, Recipe(epochs=10, lr=5e-3, batch_size=24))
    return saved(fitted.model, tmp_path_factory.mktemp("models") / "classifier")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory, config) -> Path:
    """A folder with an encoder that is no classifier yet."""
    torch.manual_seed(0)
    return saved(t.BertModel(config), tmp_path_factory.mktemp("models") / "encoder")
