"""A learner's own data and model: the good way through the door, and every refusal at it."""

from __future__ import annotations

import copy
import json
import string
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from datasets import ClassLabel, DatasetDict
from hub_double import run_online, serving
from transformer_zoo import tiny

from course_lib import own
from course_lib.encoders import MINILM, tokenize
from course_lib.own import own_model, read_examples
from course_lib.training import Recipe, evaluate, fit

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "great", "dull", "film", "so"]
TOKENS = PIECES + [p + letter for letter in string.ascii_lowercase for p in ("", "##")]


def word_pieces() -> Any:
    return t.BertTokenizerFast(vocab={token: i for i, token in enumerate(TOKENS)})


def sentences(n: int = 240) -> list[str]:
    """All different; the odd ones are great."""
    letters = string.ascii_lowercase
    return [
        f"{('dull', 'great')[i % 2]} film {'so ' * (i % 5)}{letters[i % 26]}{letters[i // 26]}"
        for i in range(n)
    ]


def written(folder: Path, labels=("no", "yes"), n: int = 240, name: str = "mine.csv") -> Path:
    """A file whose odd rows have the second label."""
    rows = [(text, labels[i % len(labels)]) for i, text in enumerate(sentences(n))]
    file = folder / name
    if name.endswith("jsonl"):
        file.write_text("\n".join(json.dumps({"text": a, "label": b}) for a, b in rows))
    else:
        file.write_text("\n".join(["text,label", *(f'"{a}",{b}' for a, b in rows)]))
    return file


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


# --- the data


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
@pytest.mark.parametrize(("labels", "names"), [((1, 0), ["0", "1"]), (("no", "None"), None)])
def test_a_file_becomes_three_stratified_parts(tmp_path, capsys, name, labels, names):
    file = written(tmp_path, labels, 250, name)
    with file.open("a") as more:
        again = sentences(1)[0].upper() + "!"  # the same words as the first row
        more.write(
            f"\n{json.dumps({'text': again, 'label': labels[0]})}" if "jsonl" in name else ""
        )
        more.write("" if "jsonl" in name else f'\n"{again}",{labels[0]}')
    parts = read_examples(file)
    assert {part: len(rows) for part, rows in parts.items()} == {
        "train": 150,
        "validation": 50,
        "test": 50,
    }
    assert f"{name}: 251 rows, 1 repeated" in capsys.readouterr().out
    names = names or sorted(map(str, labels))
    truth = {text: str(labels[i % 2]) for i, text in enumerate(sentences(250))}
    for rows in parts.values():
        assert rows.features["label"].names == names
        assert sum(rows["label"]) * 2 == len(rows)
        assert all(names[row["label"]] == truth[row["text"]] for row in rows)
    assert len({text for rows in parts.values() for text in rows["text"]}) == 250
    again, other = read_examples(file), read_examples(file, seed=1)
    assert again["test"]["text"][:] == parts["test"]["text"][:] != other["test"]["text"][:]


def test_signs_without_words_are_not_all_the_same_text(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text() + "\n:),yes\n:(,no\n:),yes", "utf-8-sig")
    assert sum(map(len, read_examples(file).values())) == 242


def test_there_is_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.csv"):
        read_examples(tmp_path / "nothing.csv")


REFUSED = {
    "columns": (lambda s: s.replace("text,label", "review,stars"), "'review', 'stars'; expected"),
    "semicolons": (lambda s: s.replace(",", ";").replace('"', ""), "'text;label'.*commas"),
    "semicolons and quotes": (lambda s: s.replace(",", ";"), "cannot be read.*commas"),
    "no text": (lambda s: s + "\n ,yes", "Row 241 .*text ' '"),
    "no label": (lambda s: s + "\na film,", "Row 241 .*label ''"),
    "no comma": (lambda s: s + "\na film", "Row 241 .*label None"),
    "no quotes": (lambda s: s + "\nA good, fine film,yes", "Row 241 .*more fields.*double quotes"),
    "open quotes": (lambda s: s + '\n"A good film,yes', "cannot be read.*double quotes"),
    "few rows": (lambda s: "\n".join(s.split("\n")[:21]), r"20 different.*200.*n = 4\)"),
    "empty": (lambda s: "", "0 different texts"),
    "one class": (lambda s: s.replace(",no", ",yes"), "'yes'; expected two"),
    "a rare class": (lambda s: s + "\na film,maybe", "'maybe': 1"),
    "a gap": (lambda s: s.replace(",no", ",1").replace(",yes", ",2"), "1, 2; expected.*0, 1"),
    "signs": (lambda s: s.replace(",no", ",-1").replace(",yes", ",1"), "-1, 1; expected.*0, 1"),
    "fractions": (lambda s: s.replace(",no", ",0.0").replace(",yes", ",1.0"), "0.0, 1.0; exp"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_not_fit_is_refused(tmp_path, case):
    change, words = REFUSED[case]
    file = written(tmp_path)
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=words):
        read_examples(file)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{text", "cannot be read.*JSON"),
        ("[1, 2]", "Row 241 .*expected"),
        ('{"text": 1, "label": 1}', "text 1"),
        ('{"text": "a film", "label": NaN}', "Row 241 .*label nan"),
        ('{"text": "a film", "label": -Infinity}', "Row 241 .*label -inf"),
        ("[" * 100_000, "cannot be read.*JSON"),
    ],
)
def test_a_broken_line_of_json_is_refused(tmp_path, line, words):
    file = written(tmp_path, name="mine.jsonl")
    file.write_text("\n".join([file.read_text(), *[line] * 20]))  # enough for a class
    with pytest.raises(ValueError, match=words):
        read_examples(file)


def test_another_encoding_is_refused(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text().replace("film", "fïlm"), "latin-1")
    with pytest.raises(ValueError, match="UTF-8"):
        read_examples(file)


# --- the model: the good way


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_in_a_folder_and_the_data_go_together(save, models, parts, kind):
    mine = own_model(save(kind), parts, max_length=12)
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


def test_half_precision_becomes_float32(save, models, parts):
    mine = own_model(save(copy.deepcopy(models["bert"]).half()), parts)
    assert mine.model.dtype == torch.float32


def test_labels_in_another_order_are_matched_by_their_words(save, models, parts):
    model = copy.deepcopy(models["bert"])
    with torch.no_grad():  # this model's class 0 is "Yes"
        model.classifier.weight.copy_(model.classifier.weight.flip(0))
        model.classifier.bias.copy_(model.classifier.bias.flip(0))
    mine = own_model(save(model, id2label={"0": "YES", "1": "No"}), parts)
    assert mine.labels == ("YES", "No")
    assert mine.data["test"]["labels"][:] == [1 - label for label in parts["test"]["label"]]
    assert mine.parts["test"]["label"][:] == mine.data["test"]["labels"][:]
    assert mine.validation.value > 0.9


def test_numbers_in_the_data_are_the_models_numbers(save, tmp_path):
    numbered = read_examples(written(tmp_path, labels=(0, 1)))
    mine = own_model(save(id2label={"0": "bad", "1": "good"}), numbered)
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
    mine = own_model(save(id2label={"0": "bad", "1": "good"}), turned)
    assert mine.data["test"]["labels"][:] == numbered["test"]["label"][:]


LOAD_FROM_HUB = """
import sys
from course_lib.own import own_model, read_examples
print(own_model("some-organisation/mine", read_examples(sys.argv[-1])))
"""


def test_a_model_on_the_hub(save, parts, tmp_path):
    script = LOAD_FROM_HUB.replace("sys.argv[-1]", repr(str(written(tmp_path))))
    folder = save()
    with serving(folder) as endpoint:
        result = run_online(script, endpoint, tmp_path / "home")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == repr(own_model(folder, parts))


def test_no_hub(parts):
    with pytest.raises(ConnectionError, match=r"neither a folder.*some/model|some/model.*neither"):
        own_model("some/model", parts)


# --- the model: refusals


def test_a_bare_encoder_is_refused_before_its_weights_are_read(parts, monkeypatch):
    monkeypatch.setattr(own, "_classifier", None)
    with pytest.raises(TypeError, match=r"BertModel; expected.*Fine-tune.*lesson 3.*zoo\.TEACHER"):
        own_model(MINILM, parts)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("vit", "ViTForImage.*text classifier"), ("gpt2", "GPT2LMHead"), ("bert-mlm", "MaskedLM")],
)
def test_another_kind_of_model_is_refused(save, parts, kind, words):
    with pytest.raises(TypeError, match=words):
        own_model(save(tiny(kind)), parts)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"id2label": {"0": "LABEL_0"}}, "a number.*num_labels 1"),
        ({"problem_type": "regression"}, "a number"),
        ({"problem_type": "multi_label_classification"}, "several labels a text"),
        ({"model_type": "xlm-roberta"}, "'xlm-roberta'.*bert, roberta"),
    ],
)
def test_a_config_of_another_task_or_family_is_refused(save, parts, config, words):
    with pytest.raises(TypeError, match=words):
        own_model(save(**config), parts)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["neg", "mixed", "pos"], r"3 classes \(neg, mixed, pos\).*2 \(no, yes\)"),
        (["neg", "pos"], "neg, pos, and the data no, yes.*0 for neg, 1 for pos"),
    ],
)
def test_other_classes_than_the_datas_are_refused(save, parts, labels, words):
    with pytest.raises(ValueError, match=words):
        own_model(save(id2label=dict(enumerate(labels))), parts)


def test_numbers_that_are_not_the_models_are_refused(save, parts):
    stars = {
        name: part.cast_column("label", ClassLabel(names=["1", "2"]))
        for name, part in parts.items()
    }
    with pytest.raises(ValueError, match=r"neg, pos, and the data 1, 2.*0 for neg, 1 for pos"):
        own_model(save(id2label={"0": "neg", "1": "pos"}), stars)


def test_weights_without_a_trained_classifier_are_refused(save, models, parts):
    folder = save(models["bert"].bert, architectures=None)
    with pytest.raises(ValueError, match=r"lack classifier\.bias, classifier\.weight.*Fine-tune"):
        own_model(folder, parts)


def test_weights_of_another_shape_are_refused(save, parts):
    with pytest.raises(ValueError, match=r"lack .*intermediate"):
        own_model(save(intermediate_size=20), parts)


def test_pickle_is_not_read(save, models, parts):
    folder = save()
    (folder / "model.safetensors").unlink()
    torch.save(models["bert"].state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"model\.safetensors.*no pickle"):
        own_model(folder, parts)


def test_foreign_code_is_not_run(save, parts, tmp_path):
    code = {"AutoConfig": "strange.Config", "AutoModelForSequenceClassification": "strange.Model"}
    folder = save(auto_map=code, model_type="strange")
    (folder / "strange.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="no code from outside"):
        own_model(folder, parts)
    assert not (tmp_path / "ran").exists()


def test_what_stands_in_the_way_of_pruning_is_refused(models, monkeypatch):
    adapted = copy.deepcopy(models["bert"])
    adapted.bert.encoder.layer[0].attention.self.adapter = torch.nn.Linear(2, 2)
    report: dict[str, Any] = {"missing_keys": set(), "mismatched_keys": set()}
    monkeypatch.setattr(own, "_load", lambda *_args, **_settings: (adapted, report))
    with pytest.raises(ValueError, match=r"adapter.*could not be placed"):
        own._classifier("adapted")


def test_no_tokeniser_and_a_slow_one_are_refused(save, parts):
    folder = save()
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"knows no words.*save_pretrained"):
        own_model(folder, parts)
    t.CanineTokenizer().save_pretrained(folder)
    with pytest.raises(TypeError, match="CanineTokenizer; expected a fast one"):
        own_model(folder, parts)


def test_no_pad_token_is_refused(save, parts):
    tokenizer = t.PreTrainedTokenizerFast(tokenizer_object=word_pieces().backend_tokenizer)
    with pytest.raises(ValueError, match=r"pad token is None.*tokenizer\.pad_token"):
        own_model(save(tokenizer=tokenizer), parts)
    with pytest.raises(ValueError, match=r"None in the model's config"):
        own_model(save("gpt2", pad_token_id=None), parts)


def test_a_tokeniser_of_another_model_is_refused(save, parts):
    tokenizer = word_pieces()
    tokenizer.add_tokens(["unforgettable"])
    with pytest.raises(ValueError, match=r"ids up to 61, and the model rows for 61.*resize"):
        own_model(save(tokenizer=tokenizer), parts)


def test_texts_longer_than_the_model_reads_are_refused(save, parts):
    with pytest.raises(ValueError, match=r"max_length is 65.*at most 64"):
        own_model(save(), parts, max_length=65)


def test_roberta_counts_positions_from_behind_its_padding():
    config = t.RobertaConfig(**BERT | {"pad_token_id": 1, "max_position_embeddings": 66})
    model = t.RobertaForSequenceClassification(config)
    own._check_tokenizer(word_pieces(), model, 64)
    model(torch.full((1, 64), 7))
    with pytest.raises(ValueError, match=r"max_length is 65.*at most 64"):
        own._check_tokenizer(word_pieces(), model, 65)


def test_answers_that_depend_on_padding_are_refused(save, parts):
    """GPT-2's classifier looks for the last token that is no padding, by its id."""
    with pytest.raises(ValueError, match=r"padded.*id 0.*has the id 4.*GPT-2"):
        own_model(save("gpt2", pad_token_id=4), parts)


@pytest.mark.parametrize("case", ["swapped", "constant"])
def test_a_model_that_is_no_better_than_the_most_frequent_class_is_refused(
    save, models, parts, case
):
    model = copy.deepcopy(models["bert"])
    with torch.no_grad():
        model.classifier.weight.mul_({"swapped": -1, "constant": 0}[case])
    share = {"swapped": r" 0\.0 %", "constant": r" 50\.0 %"}[case]
    with pytest.raises(ValueError, match=rf"{share}.*swapped.*LABEL_0.*'no'.*Fine-tune"):
        own_model(save(model), parts)


def test_parts_that_are_not_as_read_examples_gives_them_are_refused(save, parts):
    folder = save()
    train = parts["train"]
    with pytest.raises(ValueError, match=r"'validation'.*expected train, validation and test"):
        own_model(folder, {"train": train, "test": train})
    with pytest.raises(ValueError, match=r"'sentence'.*expected"):
        own_model(folder, {**parts, "test": train.rename_column("text", "sentence")})
    plain = train.add_column("number", train["label"][:]).remove_columns("label")
    with pytest.raises(TypeError, match=r"expected a ClassLabel.*cast_column"):
        own_model(folder, {**parts, "test": plain.rename_column("number", "label")})
    hidden = plain.map(lambda row: {"label": -1}).cast_column(
        "label", ClassLabel(names=["no", "yes"])
    )
    with pytest.raises(ValueError, match="'test' is empty or has hidden labels"):
        own_model(folder, {**parts, "test": hidden})
    turned = parts["test"].cast_column("label", ClassLabel(names=["yes", "no"]))
    with pytest.raises(ValueError, match=r"'test' is called yes, no.*'train' no, yes"):
        own_model(folder, {**parts, "test": turned})
