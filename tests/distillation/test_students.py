"""Students have the weights of their teacher, and a DistilBERT loads as one from anywhere."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from hub_double import run_online, serving
from transformer_zoo import TINY, batch_for, tiny

from course_lib.distillation.students import distilbert_from_bert, student_from_teacher
from course_lib.models.encoders import load_tokenizer
from course_lib.structured.embeddings import factor_embeddings, rank_of
from course_lib.structured.removal import original_parameters, remove
from course_lib.structured.transformers import layers_of

# --- students


@pytest.mark.parametrize("name", TINY)
def test_a_student_has_its_teachers_layers_embeddings_and_head(name):
    teacher = tiny(name)
    before = copy.deepcopy(teacher.state_dict())
    student = student_from_teacher(teacher, [0, 2])
    path, _ = layers_of(teacher)
    for key, tensor in student.state_dict().items():
        old = key.replace(f"{path}.1.", f"{path}.2.")  # its second layer is the teacher's third
        assert torch.equal(tensor, before[old]), key
    assert student.config.num_hidden_layers == 2
    assert all(torch.equal(tensor, before[key]) for key, tensor in teacher.state_dict().items())


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_fresh_student_has_the_same_shapes_and_other_weights(name):
    teacher = tiny(name)
    narrow = remove(teacher, {"layer.0.ffn": range(5), "layer.2.heads": [1]})
    student, again = (student_from_teacher(narrow, [0, 2], fresh=True, seed=1) for _ in range(2))
    other = student_from_teacher(narrow, [0, 2], fresh=True, seed=2)
    copied = student_from_teacher(narrow, [0, 2])
    assert {k: v.shape for k, v in student.state_dict().items()} == {
        k: v.shape for k, v in copied.state_dict().items()
    }
    matrices = [k for k, v in student.state_dict().items() if v.ndim > 1]
    assert all(torch.equal(student.state_dict()[k], again.state_dict()[k]) for k in matrices)
    assert not any(torch.equal(student.state_dict()[k], other.state_dict()[k]) for k in matrices)
    assert not any(torch.equal(student.state_dict()[k], copied.state_dict()[k]) for k in matrices)


def test_a_fresh_student_keeps_device_dtype_and_memory_of_the_original_size():
    teacher = tiny("bert").bfloat16()
    student = student_from_teacher(teacher, [0, 2], fresh=True)
    assert student.dtype == torch.bfloat16
    assert original_parameters(student) == sum(p.numel() for p in teacher.parameters())


# --- DistilBERT


def test_every_tensor_of_the_distilbert_is_the_berts():
    bert = tiny("bert")
    student = distilbert_from_bert(bert, [0, 2])
    bert_state = bert.state_dict()
    for key, tensor in student.state_dict().items():
        old = key.replace("distilbert.", "bert.").replace("transformer.layer", "encoder.layer")
        old = old.replace("layer.1.", "layer.2.").replace("pre_classifier", "bert.pooler.dense")
        for new, name in {
            "attention.q_lin": "attention.self.query",
            "attention.k_lin": "attention.self.key",
            "attention.v_lin": "attention.self.value",
            "attention.out_lin": "attention.output.dense",
            "sa_layer_norm": "attention.output.LayerNorm",
            "ffn.lin1": "intermediate.dense",
            "ffn.lin2": "output.dense",
            "output_layer_norm": "output.LayerNorm",
        }.items():
            old = old.replace(new, name)
        assert torch.equal(tensor, bert_state[old]), key
    assert type(student) is transformers.DistilBertForSequenceClassification


def test_a_distilbert_of_all_layers_predicts_the_words_that_bert_predicts():
    """Independent of names: without segments a DistilBERT computes what BERT does."""
    bert = tiny("bert-mlm")
    with torch.no_grad():
        bert.bert.embeddings.token_type_embeddings.weight.zero_()
    student = distilbert_from_bert(bert, [0, 1, 2]).eval()
    batch = batch_for(bert)
    real = batch["attention_mask"].bool()
    with torch.inference_mode():
        torch.testing.assert_close(student(**batch).logits[real], bert(**batch).logits[real])


def test_it_is_saved_and_loaded_by_plain_from_pretrained(tmp_path):
    bert = tiny("bert")
    bert.config.id2label = {0: "NEGATIVE", 1: "POSITIVE"}
    student = distilbert_from_bert(bert)
    student.save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(again) is transformers.DistilBertForSequenceClassification
    assert again.config.id2label == {0: "NEGATIVE", 1: "POSITIVE"}
    assert again.config.n_layers == 2  # every other one of three
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in student.state_dict().items())


def test_a_tied_decoder_stays_tied():
    student = distilbert_from_bert(tiny("bert-mlm"))
    words = student.distilbert.embeddings.word_embeddings.weight
    assert student.vocab_projector.weight is words


def test_what_cannot_be_a_distilbert_is_refused():
    with pytest.raises(TypeError, match=r"RobertaFor.*needs a BertForSeq"):
        distilbert_from_bert(tiny("roberta"))
    with pytest.raises(ValueError, match=r"one number of heads.*factored embeddings"):
        distilbert_from_bert(remove(tiny("bert"), {"layer.1.heads": [0, 1]}))
    with pytest.raises(ValueError, match="layers"):
        distilbert_from_bert(tiny("bert"), [0, 7])


def test_factored_embeddings_are_kept_or_refused():
    factored = factor_embeddings(tiny("bert"), 6)
    assert rank_of(student_from_teacher(factored, [0])) == 6
    with pytest.raises(ValueError, match="a fresh model's are not"):
        student_from_teacher(factored, [0], fresh=True)
    with pytest.raises(ValueError, match="no field for factored embeddings"):
        distilbert_from_bert(factored)


# --- the Hub's DistilBERT

SST2 = "distilbert-base-uncased-finetuned-sst-2-english"
CLASSIFY = f"""
from transformers import pipeline
classify = pipeline("sentiment-analysis", model="{SST2}")
print(type(classify.model).__name__)
print(classify("This movie is great!"))
"""


def test_the_pipeline_loads_a_genuine_distilbert_from_the_hub(tmp_path):
    bert = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8,
            id2label={0: "NEGATIVE", 1: "POSITIVE"},
        )
    )  # fmt: skip
    student = distilbert_from_bert(bert)
    with torch.no_grad():
        student.classifier.bias.copy_(torch.tensor([-5.0, 5.0]))
    student.save_pretrained(tmp_path / "model")
    load_tokenizer().save_pretrained(tmp_path / "model")
    with serving(tmp_path / "model") as endpoint:
        result = run_online(CLASSIFY, endpoint, tmp_path / "home")
    assert result.returncode == 0, result.stderr
    kind, answer = result.stdout.splitlines()[-2:]
    assert kind == "DistilBertForSequenceClassification"
    assert answer.startswith("[{'label': 'POSITIVE', 'score': 0.99")
