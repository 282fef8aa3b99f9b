"""One sentence: attention maps, and answers side by side."""

import pytest
import torch
import transformers
from slider_samples import TOKENS, maps
from transformer_zoo import tiny

from course_lib.lessons.sliders import attention
from course_lib.lessons.sliders.attention import (
    answers_explorer,
    answers_view,
    attention_chart,
    attention_explorer,
    attention_maps,
    attention_view,
    overlap,
)  # fmt: skip
from course_lib.lessons.sliders.charts import svg

WORDS = ["[CLS]", "so", "good", "[SEP]"]


class Tokenizer:
    """Ids for the tiny models, whose vocabulary has 40 tokens."""

    def __call__(self, lines, **_):
        ids = torch.tensor([[1, *(5 + len(word) for word in lines[0].split()), 2]])
        return transformers.BatchEncoding(
            {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        )

    def convert_ids_to_tokens(self, ids):
        return [f"<{i}>" for i in ids]


def flat(row):
    """A map [1 head, words, words] in which every word looks alike."""
    return torch.tensor(row).expand(1, len(row), -1)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra", "gpt2-classifier"])
def test_maps_are_the_models_own_and_it_is_left_as_it_was(family):
    model = tiny(family).train()
    before = model.config._attn_implementation
    tokens, found = attention_maps(model, Tokenizer(), "one fine day")
    assert tokens == ["<1>", "<8>", "<9>", "<8>", "<2>"]
    assert [tuple(layer.shape) for layer in found] == [(4, 5, 5)] * 3
    for layer in found:
        torch.testing.assert_close(layer.sum(-1), torch.ones(4, 5))
    assert model.config._attn_implementation == before and model.training


def test_the_first_layers_map_is_the_softmax_of_its_queries_and_keys():
    model = tiny("bert")
    _, found = attention_maps(model, Tokenizer(), "one fine day")
    ids = Tokenizer()(["one fine day"])["input_ids"]
    layer = model.bert.encoder.layer[0].attention.self
    x = model.bert.embeddings(ids)[0]
    q, k = (part(x).view(5, 4, 6).transpose(0, 1) for part in (layer.query, layer.key))
    expected = (q @ k.transpose(1, 2) / 6**0.5).softmax(-1)  # [4 heads, 5, 5]
    torch.testing.assert_close(found[0], expected)


def test_overlap_is_one_for_equal_and_zero_for_disjoint_maps():
    a, b = torch.eye(3), torch.eye(3).roll(1, 0)
    assert overlap(a, a) == pytest.approx(1)
    assert overlap(a, b) == pytest.approx(0)


def test_the_view_shows_both_maps_and_what_they_share():
    models = {"teacher": [flat([0.1, 0.2, 0.3, 0.4])], "student": [flat([0.4, 0.3, 0.2, 0.1])]}
    state = attention_view(WORDS, models, {"teacher": 0, "student": 0}, 0)
    assert "teacher, layer 1, head 1 and student, layer 1, head 1" in state.readout
    assert "60 % of their attention" in state.readout
    titles = [row["title"] for row in state.data["titles"]]
    assert titles == ["teacher, layer 1, head 1", "student, layer 1, head 1 (60 % in common)"]
    found = {(c["model"], c["from"], c["to"]): c["weight"] for c in state.data["cells"]}
    assert found["teacher", 1, 2] == pytest.approx(0.3)
    assert found["student", 1, 2] == pytest.approx(0.2)


def test_words_that_occur_twice_have_each_a_row_and_a_column():
    models = {"teacher": maps(1, 1, 0)}
    picture = svg(
        attention_chart(TOKENS, ["teacher"]), attention_view(TOKENS, models, {"teacher": 0}, 0)
    )
    assert picture.count(">the</text>") == 4 and picture.count(">-able</text>") == 2


def test_a_word_with_quotes_and_tags_is_drawn_as_it_is():
    state = attention_view(["\"'</b>", "&"], {"<a>": [flat([0.5, 0.5])]}, {"<a>": 0}, 0)
    assert "<a>" not in state.readout and "&lt;a&gt;" in state.readout
    assert "\"'&lt;/b&gt;" in svg(attention_chart(["\"'</b>", "&"], ["<a>"]), state)


@pytest.mark.parametrize(("layer", "head"), [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_a_layer_or_head_that_is_not_there_is_named(layer, head):
    with pytest.raises(ValueError, match=rf"layer {layer} and head {head} for the teacher.*from 0"):
        attention_view(WORDS, {"teacher": [flat([0.25] * 4)]}, {"teacher": layer}, head)


def test_the_sliders_count_from_1_and_move_the_picture():
    models = {
        "teacher": [flat([0.25] * 4), flat([1.0, 0.0, 0.0, 0.0]), flat([0.0, 1.0, 0.0, 0.0])],
        "student": [flat([0.25] * 4), flat([0.0, 1.0, 0.0, 0.0])],
    }
    pairs = [{"teacher": 0, "student": 0}, {"teacher": 1, "student": 1}]
    explorer = attention_explorer(WORDS, models, pairs)
    layer, head = explorer.controls
    assert layer.value == "teacher 2 ↔ student 2" and head.options == ("1",)
    assert " 0 % of their attention" in explorer.readout.value
    layer.value = "teacher 1 ↔ student 1"
    assert "100 % of their attention" in explorer.readout.value


def model_with(labels, sign=1):
    model = tiny("bert")
    model.config.id2label = labels
    with torch.no_grad():
        model.classifier.weight.mul_(0)
        model.classifier.bias.copy_(torch.tensor([-sign, sign]))
    return model


LABELS = {0: "<negative>", 1: "positive"}


def test_the_sentence_goes_to_where_each_model_is(monkeypatch):
    asked = []

    def forward(model, batch):
        asked.extend(tensor.device for tensor in batch.values())
        return torch.zeros(1, 2)

    monkeypatch.setattr(attention, "forward", forward)
    answers_view({"there": tiny("bert").to("meta")}, Tokenizer(), "So good!")
    assert asked == [torch.device("meta")] * 2


def test_answers_stand_side_by_side_and_say_whether_they_agree():
    models = {"<teacher>": model_with(LABELS), "other": model_with(LABELS, -1)}
    state = answers_view(models, Tokenizer(), "So good!")
    assert "They disagree." in state.readout and "&lt;negative&gt;, 88.1 % sure" in state.readout
    assert "<teacher>" not in state.readout
    assert [row["answer"] for row in state.data["answers"]] == ["positive", "<negative>"]


def test_the_sentence_stands_above_its_answers_with_its_label_where_that_is_known():
    models, truth = {"a": model_with(LABELS)}, {"So good!": "positive"}
    titles = [
        answers_view(models, Tokenizer(), line, truth).data["title"][0]["text"]
        for line in ("So good!", "So bad!", "words " * 12)
    ]
    assert titles[:2] == ["“So good!” (its label: positive)", "“So bad!”"]
    assert titles[2].endswith(" …”") and len(titles[2]) <= 52


def test_a_sentence_is_answered_and_an_empty_line_asks_for_one():
    explorer = answers_explorer(
        {"a": model_with(LABELS), "b": model_with(LABELS)}, Tokenizer(), "So"
    )
    assert "They agree." in explorer.readout.value and explorer.stored is None
    explorer.controls[0].value = "What a bore & a mess"
    assert "What a bore & a mess" in explorer.panel.state["alt"]
    explorer.controls[0].value = "  "
    assert "Write a sentence" in explorer.readout.value
    assert explorer.panel.state["data"]["answers"]["rows"] == []
