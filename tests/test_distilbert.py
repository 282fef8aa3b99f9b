"""Students have their teacher's tensors, a DistilBERT is a genuine one, and the losses teach."""

from __future__ import annotations

import copy
import os
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import transformers
from accelerate.state import AcceleratorState
from datasets import Dataset
from hub_double import run_online, serving
from transformer_zoo import TINY, batch_for, tiny, without_dropout
from transformers.modeling_outputs import SequenceClassifierOutput
from two_processes import run_on_two

from course_lib.distilbert import (
    distilbert_from_bert,
    distill_hidden,
    student_from_teacher,
    triple_loss,
)
from course_lib.distillation import soft_loss
from course_lib.embeddings import factor_embeddings, rank_of
from course_lib.encoders import load_tokenizer
from course_lib.groups import layers_of
from course_lib.surgery import original_parameters, remove
from course_lib.training import Recipe, forward


def sentences(n: int = 24, segments: bool = False) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 40, (n, 7), generator=generator).tolist()
    rows = {"input_ids": ids, "attention_mask": [[1] * 7] * n, "labels": [i[0] % 2 for i in ids]}
    if segments:
        rows["token_type_ids"] = [[0, 0, 0, 1, 1, 1, 1]] * n
    return Dataset.from_dict(rows)


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
    theirs = bert.state_dict()
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
        assert torch.equal(tensor, theirs[old]), key
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
    with pytest.raises(ValueError, match=r"layer.1.heads has 2 heads.*only one number.*here 4"):
        distilbert_from_bert(remove(tiny("bert"), {"layer.1.heads": [0, 1]}))
    with pytest.raises(ValueError, match="layers"):
        distilbert_from_bert(tiny("bert"), [0, 7])


def test_factored_embeddings_are_kept_or_refused():
    factored = factor_embeddings(tiny("bert"), 6)
    assert rank_of(student_from_teacher(factored, [0])) == 6
    with pytest.raises(ValueError, match="a fresh model's are not"):
        student_from_teacher(factored, [0], fresh=True)
    with pytest.raises(ValueError, match="which DistilBERT's config cannot say"):
        distilbert_from_bert(factored)


# --- the losses


def said(logits, hidden):
    return SequenceClassifierOutput(logits=logits, hidden_states=(torch.zeros(1), hidden))


def example(seed: int, n: int = 4, length: int = 5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return said(logits, torch.randn(n, length, 3, generator=generator, dtype=torch.float64))


def test_it_is_the_weighted_sum_of_three_losses():
    student, teacher, labels = example(0), example(1), torch.tensor([0, 1, -100, 1])
    cosine = 1 - F.cosine_similarity(student.hidden_states[1], teacher.hidden_states[1], dim=-1)
    expected = (
        5 * soft_loss(student.logits, teacher.logits, T=2.0)
        + 2 * F.cross_entropy(student.logits, labels, ignore_index=-100)
        + cosine.mean()
    )
    torch.testing.assert_close(triple_loss(student, teacher, labels), expected)
    only_cosine = triple_loss(student, teacher, labels, weights=(0, 0, 1))
    torch.testing.assert_close(only_cosine, cosine.mean())


def test_padding_does_not_count():
    student, teacher, labels = example(0), example(1), torch.tensor([0, 1, 1, 0])
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 4)
    before = triple_loss(student, teacher, labels, mask)
    student.hidden_states[1][:, 3:] = 1e9
    torch.testing.assert_close(triple_loss(student, teacher, labels, mask), before)


def test_without_a_label_the_hard_loss_is_silent():
    student, teacher = example(0), example(1)
    nobody = torch.full((4,), -100)
    assert triple_loss(student, teacher, nobody, weights=(0, 2, 0)) == 0
    assert torch.isfinite(triple_loss(student, teacher, nobody))


def test_missing_hidden_states_are_named():
    student, teacher, labels = example(0), example(1), torch.tensor([0, 1, 1, 0])
    bare = SequenceClassifierOutput(logits=teacher.logits)
    with pytest.raises(ValueError, match=r"teacher's output has no hidden.*output_hidden_states"):
        triple_loss(student, bare, labels)
    triple_loss(student, bare, labels, weights=(5, 2, 0))  # does not need them


# --- the loop


def test_a_student_comes_closer_to_its_teacher_and_both_arguments_stay():
    teacher = tiny("bert").train()
    student = student_from_teacher(teacher, [0, 2])
    starts = [copy.deepcopy(m.state_dict()) for m in (teacher, student)]
    data = {"train": sentences(), "validation": sentences()}
    loss = partial(triple_loss, weights=(5, 0, 1))  # the labels have nothing to do with the teacher
    recipe = Recipe(epochs=25, lr=1e-3, batch_size=8)
    fitted = distill_hidden(student, teacher, data, recipe, loss=loss)
    for model, start in zip((teacher, student), starts, strict=True):
        assert all(torch.equal(v, start[k]) for k, v in model.state_dict().items())
    assert teacher.training and type(fitted.model) is type(student)
    losses = [row["loss"] for row in fitted.history]
    assert losses[-1] < 0.7 * losses[0]
    assert not fitted.model.config.output_hidden_states


def test_segments_reach_the_bert_teacher_and_not_the_distilbert():
    teacher = tiny("bert")
    student = distilbert_from_bert(teacher)
    seen = {}

    def watch(name):
        def hook(module, args, kwargs):
            seen[name] = set(kwargs)

        return hook

    student.register_forward_pre_hook(watch("student"), with_kwargs=True)  # copies keep it
    teacher.register_forward_pre_hook(watch("teacher"), with_kwargs=True)
    data = {"train": sentences(segments=True)}
    distill_hidden(student, teacher, data, Recipe(epochs=1, batch_size=8))
    assert "token_type_ids" in seen["teacher"] and "token_type_ids" not in seen["student"]
    assert "labels" not in seen["teacher"] | seen["student"]
    # and they make a difference to the teacher
    batch = {k: torch.tensor(v) for k, v in sentences(4, segments=True)[:4].items()}
    without = {k: v for k, v in batch.items() if k != "token_type_ids"}
    with torch.inference_mode():
        assert not torch.allclose(forward(teacher, batch).logits, forward(teacher, without).logits)


def test_labels_of_the_transfer_set_are_not_looked_at():
    teacher = tiny("bert")
    data, recipe = {"train": sentences()}, Recipe(epochs=1, batch_size=8)
    lies = sentences().map(lambda row: {"labels": 1 - row["labels"]})
    student = student_from_teacher(teacher, [0])
    weights = [
        distill_hidden(student, teacher, data, recipe, transfer=transfer).model.state_dict()
        for transfer in (sentences(), lies, sentences().remove_columns("labels"))
    ]
    for other in weights[1:]:
        assert all(torch.equal(v, other[k]) for k, v in weights[0].items())


def test_a_narrower_student_learns_through_a_projection():
    teacher = tiny("bert")
    config = copy.deepcopy(teacher.config)
    config.hidden_size, config.num_attention_heads = 12, 2
    student = type(teacher)(config)
    loss = partial(triple_loss, weights=(0, 0, 1))  # nothing but the hidden states
    recipe = Recipe(epochs=8, lr=3e-3, batch_size=8)
    fitted = distill_hidden(student, teacher, {"train": sentences()}, recipe, loss=loss)
    losses = [row["loss"] for row in fitted.history]
    assert losses[-1] < 0.8 * losses[0]
    assert not any("projection" in name for name in fitted.model.state_dict())
    again = distill_hidden(student, teacher, {"train": sentences()}, recipe, loss=loss)
    assert again.history == fitted.history  # the projection is seeded, too


@pytest.mark.parametrize(
    ("parts", "transfer", "words"),
    [
        ({"test": sentences}, None, r"parts \['test'\]; distill_hidden needs one named 'train'"),
        ({"train": partial(sentences, segments=True)}, sentences, r"lacks.*\['token_type_ids'\]"),
    ],
)
def test_data_that_does_not_fit_is_refused(parts, transfer, words):
    teacher = tiny("bert")
    data = {name: make() for name, make in parts.items()}
    with pytest.raises(ValueError, match=words):
        distill_hidden(teacher, teacher, data, transfer=transfer and transfer())


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


# --- larger than one machine: interrupted, in bf16, on two processes


def teach(loss=triple_loss, checkpoint: str = ""):
    """Two epochs on a stream."""
    teacher = without_dropout(tiny("bert"))
    student = student_from_teacher(teacher, [0, 2])
    recipe = Recipe(epochs=2, lr=1e-3, batch_size=8, steps=3, checkpoint=checkpoint)
    stream = sentences().to_iterable_dataset(num_shards=2)
    return distill_hidden(student, teacher, {"train": stream}, recipe, loss=loss)


def test_an_interrupted_distillation_ends_with_the_same_bits(cache_folder):
    calls = 0

    def loss(*arguments):
        nonlocal calls
        calls += 1
        if calls == 5:  # in the second epoch
            raise KeyboardInterrupt
        return triple_loss(*arguments)

    with pytest.raises(KeyboardInterrupt):
        teach(loss, checkpoint="hidden")
    resumed, whole = teach(checkpoint="hidden"), teach()
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[key]), key


def taught_in_both_precisions() -> dict[str, torch.Tensor]:
    weights = {}
    for precision in ("no", "bf16"):
        os.environ["ACCELERATE_MIXED_PRECISION"] = precision
        AcceleratorState._reset_state()  # what the last training has set
        weights |= {f"{precision} {k}": v.clone() for k, v in teach().model.state_dict().items()}
    return weights


@pytest.mark.timeout(240)
def test_two_processes_teach_as_one_does(tmp_path):
    first, second = run_on_two(taught_in_both_precisions, tmp_path)
    alone = teach().model.state_dict()
    for precision, tolerance in (("no", 1e-5), ("bf16", 2e-2)):  # bf16 keeps eight bits
        for key, tensor in alone.items():
            found = first[f"{precision} {key}"]
            assert torch.equal(found, second[f"{precision} {key}"]), key
            if key.endswith("key.bias"):
                continue  # has no influence on the answer: Adam follows the rounding there
            torch.testing.assert_close(found, tensor, rtol=0, atol=tolerance, msg=key)
    assert any(not torch.equal(first[f"no {key}"], first[f"bf16 {key}"]) for key in alone)
