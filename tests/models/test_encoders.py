"""The pretrained encoder, with and without a Hub."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
import torch
import transformers
from family_zoo import family
from hub_double import run_online, serving
from huggingface_hub import constants as hub
from torch.nn.utils import prune as torch_prune

from course_lib import datasets, pruning, structured
from course_lib.folder_checks import checked_folder, tensors_in
from course_lib.models.encoders import load_encoder, load_tokenizer
from course_lib.serialization import load, save


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory, tokenizer) -> Path:
    """A very small BERT with a tokenizer, as `save_pretrained` writes it."""
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
    plain = transformers.AutoModel.from_pretrained(datasets.minilm())
    state = model.bert.state_dict()
    assert all(
        torch.equal(state[name], tensor)
        for name, tensor in plain.state_dict().items()
        if name in state
    )
    again, other = load_encoder(), load_encoder(num_labels=3, seed=1)
    assert torch.equal(model.classifier.weight, again.classifier.weight)
    assert other.classifier.weight.shape == (3, 384)


def test_weights_that_are_not_there_say_how_to_fetch_them(cache_folder, empty_index):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors.*\n[\s\S]*course_lib fetch"):
        load_encoder()


def test_pickle_is_not_read(tiny_folder, tmp_path):
    torch.save(load_encoder(str(tiny_folder)).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((tiny_folder / "config.json").read_text())
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors.*no pickle"):
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


@pytest.mark.parametrize(
    ("mask", "key"),
    [
        (lambda model: pruning.prune_weights(model, 0.5), r"parametrizations\.weight\.0\.mask"),
        (
            lambda model: [
                torch_prune.l1_unstructured(layer, "weight", 0.5)
                for layer in model.modules()
                if isinstance(layer, torch.nn.Linear)
            ],
            "weight_mask",
        ),
    ],
    ids=["ours", "torch.prune"],
)
def test_a_masked_model_would_get_random_layers_and_is_refused(tiny_folder, tmp_path, mask, key):
    model = load_encoder(str(tiny_folder))
    masked = mask(model)
    masked = model if isinstance(masked, list) else masked
    masked.save_pretrained(tmp_path / "masked")
    with pytest.raises(ValueError, match=rf"'masked' are masked.*{key}.*make_permanent\(model\)"):
        load_encoder(str(tmp_path / "masked"))
    pruning.make_permanent(masked).save_pretrained(tmp_path / "masked")
    load_encoder(str(tmp_path / "masked"))


def test_a_norm_that_is_a_parametrization_is_no_mask(tmp_path):
    family("Wav2Vec2").save_pretrained(tmp_path / "sound")
    assert any(
        "parametrizations" in name for name in tensors_in(checked_folder(tmp_path / "sound"))
    )


def test_a_pruned_folder_and_a_trainers_checkpoint_say_what_reads_them(tiny_folder, tmp_path):
    model = load_encoder(str(tiny_folder))
    small = structured.remove(model, {"layer.0.heads": [1]})
    save(small, tmp_path / "pruned")
    with pytest.raises(ValueError, match=r"widths in compressed\.json: course_lib\.load reads it"):
        load_encoder(str(tmp_path / "pruned"))
    small.save_pretrained(tmp_path / "checkpoint")  # so does Trainer
    words = r"checkpoint of Trainer does not hold the widths; course_lib\.save\(trainer\.model"
    with pytest.raises(ValueError, match=words):
        load_encoder(str(tmp_path / "checkpoint"))
    with pytest.raises(FileNotFoundError, match=r"checkpoint of Trainer is not enough: save\("):
        load(tmp_path / "checkpoint")


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
            load("some-organization/some-model")
        assert time.monotonic() - start < 10


LOAD_FROM_HUB = """
from huggingface_hub import constants
from course_lib.models.encoders import load_encoder, load_tokenizer
name = "some-organization/tiny"
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
            load_encoder("some-organization/some-model")
        assert time.monotonic() - start < 10


def test_a_name_that_the_hub_does_not_have_is_not_called_a_network_error(tmp_path):
    with serving(tmp_path) as endpoint:
        script = "from course_lib.models.encoders import load_encoder; load_encoder('some/model')"
        result = run_online(script, endpoint, tmp_path / "home")
    last = result.stderr.strip().splitlines()[-1]
    assert "ConnectionError" not in last and "some/model" in result.stderr
