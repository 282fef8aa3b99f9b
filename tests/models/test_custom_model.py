"""A learner's own model: what fits goes together with the data, and what does not is refused."""

from __future__ import annotations

import copy
import json
import string
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from datasets import ClassLabel, Dataset, DatasetDict
from hub_double import run_online, serving
from labeled_texts import written
from transformer_zoo import tiny

from course_lib import serialization, structured
from course_lib.datasets.custom_data import read_examples
from course_lib.datasets.tokenization import Lengths, tokenize
from course_lib.evaluation.prediction import evaluate
from course_lib.models import custom_model
from course_lib.models.custom_model import load_custom_model
from course_lib.models.encoders import MINILM
from course_lib.quantization.int8 import quantize
from course_lib.quantization.onnx_export import save_onnx_folder
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "great", "dull", "film", "so"]
TOKENS = PIECES + [p + letter for letter in string.ascii_lowercase for p in ("", "##")]


def word_pieces() -> Any:
    return t.BertTokenizerFast(vocab={token: i for i, token in enumerate(TOKENS)})


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> DatasetDict:
    return read_examples(written(tmp_path_factory.mktemp("data")))


SIZES: dict[str, Any] = {"vocab_size": len(TOKENS), "pad_token_id": 0}
BERT: dict[str, Any] = SIZES | {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
}
KINDS: dict[str, Any] = {
    "bert": lambda: t.BertForSequenceClassification(t.BertConfig(**BERT)),
    "distilbert": lambda: t.DistilBertForSequenceClassification(
        t.DistilBertConfig(**SIZES, dim=24, n_layers=2, n_heads=2, hidden_dim=16)
    ),
    "gpt2": lambda: t.GPT2ForSequenceClassification(
        t.GPT2Config(
            **SIZES, n_embd=24, n_layer=2, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3
        )
    ),
}


def trained(kind: str, parts: DatasetDict) -> Any:
    torch.manual_seed(0)
    train = {"train": tokenize(parts["train"], word_pieces())}
    return fit(KINDS[kind](), train, Recipe(epochs=10, lr=5e-3, batch_size=24)).model


@pytest.fixture(scope="module")
def models(parts) -> dict[str, Any]:
    return {kind: trained(kind, parts) for kind in KINDS}


@pytest.fixture
def save(models, tmp_path):
    """Writes a trained model, changed as wanted, into a folder, and gives the folder."""

    def write(kind: str | Any = "bert", tokenizer: Any = None, **config: Any) -> Path:
        model = models[kind] if isinstance(kind, str) else kind
        model.save_pretrained(tmp_path / "model")
        (tokenizer or word_pieces()).save_pretrained(tmp_path / "model")
        file = tmp_path / "model" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
        return tmp_path / "model"

    return write


# --- the model: the good way


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_in_a_folder_and_the_data_go_together(save, models, parts, kind):
    mine = load_custom_model(save(kind), parts, max_length=12)
    assert type(mine.model) is type(models[kind]) and not mine.model.training
    assert mine.validation == evaluate(models[kind], mine.data["validation"])
    assert mine.validation.value > 0.9
    assert mine.labels == ("no", "yes")  # the model has only LABEL_0 and LABEL_1
    assert {part: len(rows) for part, rows in mine.data.items()} == {
        "train": 144,
        "validation": 48,
        "test": 48,
    }
    assert mine.data["test"]["labels"][:] == parts["test"]["label"][:]
    assert max(map(len, mine.data["train"]["input_ids"])) <= 12
    assert "no / yes" in repr(mine) and "144" in repr(mine)


def test_the_object_says_how_many_texts_are_cut_and_a_folder_cuts_as_it_does(save, parts, tmp_path):
    mine = load_custom_model(save(), parts, max_length=8)
    tokens = [len(word_pieces()(text)["input_ids"]) for text in parts["train"]["text"]]
    assert mine.lengths == Lengths(tuple(tokens), 8) and mine.max_length == 8
    cut = 100 * sum(n > 8 for n in tokens) / 144
    assert 5 < cut < 100
    assert f"cut at 8 tokens: {cut:.1f} % of the training texts (95th percentile 10)" in repr(mine)
    small = quantize(mine.model)
    folder = save_onnx_folder(small, tmp_path / "small", mine.tokenizer, mine.labels)
    assert json.loads((folder / "config.json").read_text())["max_length"] == 8


def test_half_precision_becomes_float32(save, models, parts):
    mine = load_custom_model(save(copy.deepcopy(models["bert"]).half()), parts)
    assert mine.model.dtype == torch.float32


def test_labels_in_another_order_are_matched_by_their_words(save, models, parts):
    model = copy.deepcopy(models["bert"])
    with torch.no_grad():  # this model's class 0 is "Yes"
        model.classifier.weight.copy_(model.classifier.weight.flip(0))
        model.classifier.bias.copy_(model.classifier.bias.flip(0))
    mine = load_custom_model(save(model, id2label={"0": "YES", "1": "No"}), parts)
    assert mine.labels == ("YES", "No")
    assert mine.data["test"]["labels"][:] == [1 - label for label in parts["test"]["label"]]
    assert mine.parts["test"]["label"][:] == mine.data["test"]["labels"][:]
    assert mine.validation.value > 0.9


def test_numbers_in_the_data_are_the_models_numbers(save, tmp_path):
    numbered = read_examples(written(tmp_path, labels=(0, 1)))
    mine = load_custom_model(save(id2label={"0": "bad", "1": "good"}), numbered)
    assert mine.labels == ("bad", "good")


def test_numbers_in_another_order_are_matched_by_their_value(save, tmp_path):
    numbered = read_examples(written(tmp_path, labels=(0, 1)))
    turned = DatasetDict(
        {
            name: part.map(lambda row: {"label": 1 - row["label"]}).cast_column(
                "label", ClassLabel(names=["1", "0"])
            )
            for name, part in numbered.items()
        }
    )
    mine = load_custom_model(save(id2label={"0": "bad", "1": "good"}), turned)
    assert mine.data["test"]["labels"][:] == numbered["test"]["label"][:]


LOAD_FROM_HUB = """
import sys
from course_lib.datasets.custom_data import read_examples
from course_lib.models.custom_model import load_custom_model
print(load_custom_model("some-organization/mine", read_examples(sys.argv[-1])))
"""


def test_a_model_on_the_hub(save, parts, tmp_path):
    script = LOAD_FROM_HUB.replace("sys.argv[-1]", repr(str(written(tmp_path))))
    folder = save()
    with serving(folder) as endpoint:
        result = run_online(script, endpoint, tmp_path / "home")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == repr(load_custom_model(folder, parts))


def test_no_hub(parts):
    with pytest.raises(ConnectionError, match=r"neither a folder.*some/model|some/model.*neither"):
        load_custom_model("some/model", parts)


# --- the model: refusals


def test_a_bare_encoder_is_refused_before_its_weights_are_read(parts, monkeypatch):
    monkeypatch.setattr(custom_model, "_classifier", None)
    with pytest.raises(TypeError, match=r"BertModel; expected.*Fine-tune.*lesson 3.*zoo\.TEACHER"):
        load_custom_model(MINILM, parts)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("vit", "ViTForImage.*text classifier"), ("gpt2", "GPT2LMHead"), ("bert-mlm", "MaskedLM")],
)
def test_another_kind_of_model_is_refused(save, parts, kind, words):
    with pytest.raises(TypeError, match=words):
        load_custom_model(save(tiny(kind)), parts)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"id2label": {"0": "LABEL_0"}}, "a number.*num_labels 1"),
        ({"problem_type": "regression"}, "a number"),
        ({"problem_type": "multi_label_classification"}, "several labels per text"),
    ],
)
def test_a_config_of_another_task_is_refused(save, parts, config, words):
    with pytest.raises(TypeError, match=words):
        load_custom_model(save(**config), parts)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["neg", "mixed", "pos"], r"3 classes \(neg, mixed, pos\).*2 \(no, yes\)"),
        (["neg", "pos"], "neg, pos, and the data no, yes.*0 for neg, 1 for pos"),
    ],
)
def test_other_classes_than_the_datas_are_refused(save, parts, labels, words):
    with pytest.raises(ValueError, match=words):
        load_custom_model(save(id2label=dict(enumerate(labels))), parts)


def test_numbers_that_are_not_the_models_are_refused(save, parts):
    stars = {
        name: part.cast_column("label", ClassLabel(names=["1", "2"]))
        for name, part in parts.items()
    }
    with pytest.raises(ValueError, match=r"neg, pos, and the data 1, 2.*0 for neg, 1 for pos"):
        load_custom_model(save(id2label={"0": "neg", "1": "pos"}), stars)


def test_weights_without_a_trained_classifier_are_refused(save, models, parts):
    folder = save(models["bert"].bert, architectures=None)
    with pytest.raises(ValueError, match=r"lack classifier\.bias, classifier\.weight.*Fine-tune"):
        load_custom_model(folder, parts)


def test_weights_of_another_shape_are_refused(save, parts):
    with pytest.raises(ValueError, match=r"lack .*layer\.0\.intermediate\.dense\.bias"):
        load_custom_model(save(intermediate_size=20), parts)


def test_a_pruned_model_is_not_called_untrained(save, models, parts):
    small = structured.remove(models["bert"], {"layer.0.heads": [1]})
    with pytest.raises(
        ValueError, match=r"lack .*query.*checkpoint of Trainer.*before it was pruned"
    ):
        load_custom_model(save(small), parts)
    folder = save()
    serialization.save(small, folder.with_name("pruned"), word_pieces())
    with pytest.raises(ValueError, match=r"lack .*compressed\.json: course_lib\.load reads it"):
        load_custom_model(folder.with_name("pruned"), parts)


def test_pickle_is_not_read(save, models, parts):
    folder = save()
    (folder / "model.safetensors").unlink()
    torch.save(models["bert"].state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors.*no pickle"):
        load_custom_model(folder, parts)


def test_foreign_code_is_not_run(save, parts, tmp_path):
    code = {"AutoConfig": "strange.Config", "AutoModelForSequenceClassification": "strange.Model"}
    folder = save(auto_map=code, model_type="strange")
    (folder / "strange.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="no code from outside"):
        load_custom_model(folder, parts)
    assert not (tmp_path / "ran").exists()


def test_a_model_that_has_nothing_to_prune_is_refused(monkeypatch):
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    convolutions = t.SqueezeBertModel(t.SqueezeBertConfig(**sizes, embedding_size=8))
    report: dict[str, Any] = {"missing_keys": set(), "mismatched_keys": set()}
    monkeypatch.setattr(
        custom_model, "load_pretrained", lambda *_args, **_settings: (convolutions, report)
    )
    with pytest.raises(ValueError, match=r"nothing that can be removed.*no query, key and value"):
        custom_model._classifier("convolutions")


def test_no_tokenizer_and_a_slow_one_are_refused(save, parts):
    folder = save()
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"has no words.*save_pretrained"):
        load_custom_model(folder, parts)
    t.CanineTokenizer().save_pretrained(folder)
    with pytest.raises(TypeError, match="CanineTokenizer; expected a fast one"):
        load_custom_model(folder, parts)


def test_no_pad_token_is_refused(save, parts):
    tokenizer = t.PreTrainedTokenizerFast(tokenizer_object=word_pieces().backend_tokenizer)
    with pytest.raises(ValueError, match=r"pad token is None.*tokenizer\.pad_token"):
        load_custom_model(save(tokenizer=tokenizer), parts)
    with pytest.raises(ValueError, match=r"None in the model's config"):
        load_custom_model(save("gpt2", pad_token_id=None), parts)


def test_a_tokenizer_of_another_model_is_refused(save, parts):
    tokenizer = word_pieces()
    tokenizer.add_tokens(["unforgettable"])
    with pytest.raises(ValueError, match=r"ids up to 61, and the model rows for 61.*resize"):
        load_custom_model(save(tokenizer=tokenizer), parts)


def test_texts_longer_than_the_model_reads_are_refused(save, parts):
    with pytest.raises(ValueError, match=r"max_length is 65.*at most 64"):
        load_custom_model(save(), parts, max_length=65)


def test_roberta_counts_positions_from_behind_its_padding():
    config = t.RobertaConfig(**BERT | {"pad_token_id": 1, "max_position_embeddings": 66})
    model = t.RobertaForSequenceClassification(config)
    custom_model._check_tokenizer(word_pieces(), model, 64)
    model(torch.full((1, 64), 7))
    with pytest.raises(ValueError, match=r"max_length is 65.*at most 64"):
        custom_model._check_tokenizer(word_pieces(), model, 65)


@pytest.mark.parametrize("kind", ["XLMRoberta", "Camembert", "MPNet", "Longformer", "Roberta"])
def test_so_do_all_of_its_kin(kind):
    config = getattr(t, f"{kind}Config")(
        **BERT | {"pad_token_id": 1, "max_position_embeddings": 66}
    )
    assert custom_model.longest_text(config) == 64
    config.attention_window = [8] * 2  # of Longformer
    model = getattr(t, f"{kind}Model")(config).eval()
    model(torch.full((1, 64), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 65), 7))


def test_other_models_use_all_their_positions_or_have_no_limit():
    assert custom_model.longest_text(t.BertConfig(**BERT)) == 64
    assert custom_model.longest_text(KINDS["gpt2"]().config) == 64
    assert custom_model.longest_text(t.T5Config(num_layers=1)) == 10**6
    no_limit = t.XLNetConfig(vocab_size=9, d_model=8, n_layer=1, n_head=2, d_inner=8)
    assert custom_model.longest_text(no_limit) == 10**6  # it says -1


def test_a_padding_id_of_the_models_own_is_used(save, parts):
    """GPT-2's classifier looks for the last token that is no padding, by its id."""
    own = load_custom_model(save("gpt2", pad_token_id=4), parts)
    assert own.model.config.pad_token_id == 4


def test_a_model_that_is_no_better_than_the_most_frequent_class_is_refused(save, models, parts):
    model = copy.deepcopy(models["bert"])
    with torch.no_grad():
        model.classifier.weight.mul_(0)
    with pytest.raises(ValueError, match=r" 50\.0 %.*LABEL_0.*'no'.*Fine-tune"):
        load_custom_model(save(model), parts)


def test_two_classes_that_are_swapped_are_named(save, models, parts):
    model = copy.deepcopy(models["bert"])
    with torch.no_grad():
        model.classifier.weight.neg_()
    words = r" 0\.0 %.*with \{0: 'yes', 1: 'no'\} for 100\.0 %.*swapped.*LABEL_0.*in id2label"
    with pytest.raises(ValueError, match=words):
        load_custom_model(save(model), parts)
    # and named as it says, the model is accepted
    mine = load_custom_model(save(model, id2label={"0": "yes", "1": "no"}), parts)
    assert mine.validation.value == 1.0


def answers_of(numbers: list[int], classes: int) -> Any:
    return torch.eye(classes)[torch.tensor(numbers)]


def test_two_of_several_classes_that_are_swapped_are_named_and_chance_is_not():
    order, names = custom_model._other_order, list("abcdef")
    true = [i % 3 for i in range(45)]
    rows = Dataset.from_dict({"labels": true})
    assert order(answers_of(true, 3), rows, names) == ""
    swapped = answers_of([(0, 2, 1)[i] for i in true], 3)  # 33 % would be the most frequent class
    assert order(swapped, rows, names).startswith("with {1: 'c', 2: 'b'} for 100.0 %")
    # classes that no row has keep their names
    swapped = answers_of([(0, 2, 1)[i] for i in true], 6)
    assert order(swapped, rows, names).startswith("with {1: 'c', 2: 'b'} for 100.0 %")
    six = Dataset.from_dict({"labels": [i % 6 for i in range(240)]})
    one_swap = answers_of([(0, 1, 2, 3, 5, 4)[i % 6] for i in range(240)], 6)
    assert order(one_swap, six, names).startswith("with {4: 'f', 5: 'e'} for 100.0 %")
    for seed in range(20):  # for guesses, too, another order is always a little better
        guesses = torch.rand(240, 6, generator=torch.Generator().manual_seed(seed))
        assert order(guesses, six, names) == ""


def test_parts_that_are_not_as_read_examples_gives_them_are_refused(save, parts):
    folder = save()
    train = parts["train"]
    with pytest.raises(ValueError, match=r"'validation'.*expected train, validation and test"):
        load_custom_model(folder, {"train": train, "test": train})
    with pytest.raises(ValueError, match=r"'sentence'.*expected"):
        load_custom_model(folder, {**parts, "test": train.rename_column("text", "sentence")})
    plain = train.add_column("number", train["label"][:]).remove_columns("label")
    with pytest.raises(TypeError, match=r"expected a ClassLabel.*cast_column"):
        load_custom_model(folder, {**parts, "test": plain.rename_column("number", "label")})
    hidden = plain.map(lambda row: {"label": -1}).cast_column(
        "label", ClassLabel(names=["no", "yes"])
    )
    with pytest.raises(ValueError, match="'test' is empty or has hidden labels"):
        load_custom_model(folder, {**parts, "test": hidden})
    turned = parts["test"].cast_column("label", ClassLabel(names=["yes", "no"]))
    with pytest.raises(ValueError, match=r"'test' is called yes, no.*'train' no, yes"):
        load_custom_model(folder, {**parts, "test": turned})
