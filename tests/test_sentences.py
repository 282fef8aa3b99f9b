"""One sentence: attention maps, and answers side by side."""

import ipywidgets
import pytest
import torch
import transformers
from transformer_zoo import tiny

from course_lib import encoders, sentences, structured

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
    tokens, maps = sentences.attention_maps(model, Tokenizer(), "one fine day")
    assert tokens == ["<1>", "<8>", "<9>", "<8>", "<2>"]
    assert [tuple(layer.shape) for layer in maps] == [(4, 5, 5)] * 3
    for layer in maps:
        torch.testing.assert_close(layer.sum(-1), torch.ones(4, 5))
    assert model.config._attn_implementation == before and model.training


def test_the_first_layers_map_is_the_softmax_of_its_queries_and_keys():
    model = tiny("bert")
    _, maps = sentences.attention_maps(model, Tokenizer(), "one fine day")
    ids = Tokenizer()(["one fine day"])["input_ids"]
    attention = model.bert.encoder.layer[0].attention.self
    x = model.bert.embeddings(ids)[0]
    q, k = (part(x).view(5, 4, 6).transpose(0, 1) for part in (attention.query, attention.key))
    expected = (q @ k.transpose(1, 2) / 6**0.5).softmax(-1)  # [4 heads, 5, 5]
    torch.testing.assert_close(maps[0], expected)


def test_a_student_with_fewer_heads_has_maps_too():
    smaller = structured.prune(tiny("bert"), 0.4)
    _, maps = sentences.attention_maps(smaller, Tokenizer(), "so good")
    assert all(layer.shape[1:] == (4, 4) for layer in maps)


def test_overlap_is_one_for_equal_and_zero_for_disjoint_maps():
    a, b = torch.eye(3), torch.eye(3).roll(1, 0)
    assert sentences.overlap(a, a) == pytest.approx(1)
    assert sentences.overlap(a, b) == pytest.approx(0)


def test_the_view_shows_both_maps_and_what_they_share():
    models = {
        "teacher": [flat([0.1, 0.2, 0.3, 0.4])],
        "student": [flat([0.4, 0.3, 0.2, 0.1])],
    }
    shown = sentences.attention_view(WORDS, models, {"teacher": 0, "student": 0}, 0)
    assert "teacher, layer 1, head 1" in shown and "student, layer 1, head 1" in shown
    assert "so → good: 30%" in shown and "so → good: 20%" in shown
    assert "look at the same words: 60%" in shown


def test_words_are_escaped():
    maps = [flat([0.5, 0.5])]
    shown = sentences.attention_view(["<b>", "&"], {"a": maps}, {"a": 0}, 0)
    assert "<b>" not in shown and "&lt;b&gt;" in shown


@pytest.mark.parametrize(("layer", "head"), [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_a_layer_or_head_that_is_not_there_is_named(layer, head):
    with pytest.raises(ValueError, match=rf"layer {layer} and head {head} for the teacher.*from 0"):
        sentences.attention_view(WORDS, {"teacher": [flat([0.25] * 4)]}, {"teacher": layer}, head)


def test_the_attention_sliders_move_the_picture():
    models = {
        "teacher": [flat([0.25] * 4), flat([1.0, 0.0, 0.0, 0.0]), flat([0.0, 1.0, 0.0, 0.0])],
        "student": [flat([0.25] * 4), flat([0.0, 1.0, 0.0, 0.0])],
    }
    pairs = [{"teacher": 0, "student": 0}, {"teacher": 1, "student": 1}]
    layer, head, picture = sentences.attention_explorer(WORDS, models, pairs).children
    assert "same words: 0%" in picture.value  # the last pair
    layer.value = pairs[0]
    assert "same words: 100%" in picture.value
    assert (head.min, head.max) == (1, 1)
    assert isinstance(picture, ipywidgets.HTML) and "course-attention" in picture._dom_classes


def test_the_sentence_goes_to_where_each_model_is(monkeypatch):
    asked = []

    def forward(model, batch):
        asked.extend(tensor.device for tensor in batch.values())
        return torch.zeros(1, 2)

    monkeypatch.setattr(sentences, "forward", forward)
    sentences.answers_view({"there": tiny("bert").to("meta")}, Tokenizer(), "So good!")
    assert asked == [torch.device("meta")] * 2


def test_answers_stand_side_by_side_and_say_whether_they_agree():
    teacher = encoders.load_encoder()
    with torch.no_grad():
        other = encoders.load_encoder()
        other.classifier.weight.neg_()
        other.classifier.bias.neg_()
    for model in (teacher, other):
        model.config.id2label = {0: "<negative>", 1: "positive"}
    tokenizer = encoders.load_tokenizer()
    shown = sentences.answers_view({"teacher": teacher, "other": other}, tokenizer, "So good!")
    assert "They disagree." in shown and "&lt;negative&gt;" in shown and "positive" in shown
    box = sentences.answers_explorer({"a": teacher, "b": teacher}, tokenizer, "So good!")
    line, answers = box.children
    assert "They agree." in answers.value and "So good!" in answers.value
    line.value = "What a bore & a mess"
    assert "What a bore &amp; a mess" in answers.value
    line.value = "  "
    assert "Write a sentence" in answers.value
