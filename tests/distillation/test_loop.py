"""Students learn from logits and hidden states: on tiny data, in any form, on one process or two."""

from __future__ import annotations

import copy
import functools
import os
from functools import partial

import datasets
import pytest
import torch
import torch.nn.functional as F
import transformers
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from transformer_zoo import tiny, without_dropout
from two_processes import run_on_two

from course_lib.distillation.loop import distill, distill_hidden, distill_tokens
from course_lib.distillation.losses import distillation_loss, token_kl, triple_loss
from course_lib.distillation.students import distilbert_from_bert, student_from_teacher
from course_lib.evaluation.prediction import evaluate, predict
from course_lib.modules import forward
from course_lib.training.recipe import Recipe

# --- on logits -----------------------------------------------------------------------------------


def network(hidden: int, dropout: float = 0.0, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(4, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, 3)
        )


def points(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, dtype=torch.float64, generator=generator).float()


def sharp(seed: int = 5, dropout: float = 0.0) -> nn.Module:
    """A teacher: a random network whose logits are far enough apart to be learned."""
    teacher = network(8, dropout, seed)
    with torch.no_grad():
        teacher[-1].weight *= 6  # type: ignore[operator, index]
    return teacher


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_the_student_learns_its_teachers_answers_not_the_labels():
    teacher, student = sharp(), network(16)
    x = points(256, 0)
    wrong = (predict(teacher, TensorDataset(x)).argmax(-1) + 1) % 3
    before = snapshot(student), snapshot(teacher)
    teacher.train()
    teacher[0].eval()  # type: ignore[index]
    loss = functools.partial(distillation_loss, alpha=1.0)
    recipe = Recipe(epochs=20, lr=0.03, batch_size=32)
    fitted = distill(student, teacher, {"train": TensorDataset(x, wrong)}, recipe, loss=loss)

    fresh = points(256, 1)
    answers = predict(teacher, TensorDataset(fresh)).argmax(-1)
    assert evaluate(fitted.model, TensorDataset(fresh, answers)).value > 0.9
    assert fitted.model is not student
    assert same(snapshot(student), before[0]) and same(snapshot(teacher), before[1])
    assert teacher.training and not teacher[0].training and teacher[2].training  # type: ignore[index]
    assert all(p.grad is None for p in teacher.parameters())


def test_the_transfer_set_is_used_and_its_labels_are_not():
    teacher, student = sharp(), network(16)
    x, more, fresh = points(4, 0), points(236, 1), points(512, 2)
    train = TensorDataset(x, predict(teacher, TensorDataset(x)).argmax(-1))
    test = TensorDataset(fresh, predict(teacher, TensorDataset(fresh)).argmax(-1))
    unlabeled, mislabeled = TensorDataset(more), TensorDataset(more, torch.full((236,), 99))

    def student_of(transfer, epochs):
        recipe = Recipe(epochs=epochs, lr=0.03, batch_size=16)
        return distill(student, teacher, {"train": train}, recipe, transfer=transfer).model

    with_it, without = student_of(unlabeled, 10), student_of(None, 150)  # 150 steps each
    assert evaluate(with_it, test).value > evaluate(without, test).value + 0.1
    assert same(snapshot(student_of(unlabeled, 1)), snapshot(student_of(mislabeled, 1)))


def test_a_teacher_with_dropout_is_deterministic_and_its_cached_logits_give_the_same_bits():
    teacher, student = sharp(dropout=0.5).train(), network(6)
    x, more = points(64, 0), points(32, 1)
    data = {"train": TensorDataset(x, torch.arange(64) % 3)}
    recipe, transfer = Recipe(epochs=2, batch_size=16), TensorDataset(more)
    cached = torch.cat([predict(teacher, data["train"]), predict(teacher, transfer)])
    results = [
        snapshot(distill(student, t, data, recipe, transfer=transfer).model)
        for t in (teacher, teacher, cached)
    ]
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_the_teacher_looks_at_each_example_once():
    seen = []
    teacher = sharp()
    teacher.register_forward_hook(lambda m, args, out: seen.append((len(args[0]), m.training)))
    train = TensorDataset(points(20, 0), torch.zeros(20, dtype=torch.long))
    distill(network(4), teacher, {"train": train}, Recipe(epochs=3, batch_size=10))
    assert seen == [(20, False)]


class Listed(Dataset):
    """A plain map-style dataset, unlike TensorDataset, which is taken apart."""

    def __init__(self, dataset: TensorDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int):
        x, *label = self.dataset[i]
        return (x, *(int(y) for y in label))


def test_any_dataset_gives_what_tensors_give_and_validation_chooses():
    teacher, student = sharp(), network(6)
    x = points(48, 0)
    train, transfer = TensorDataset(x, torch.arange(48) % 3), TensorDataset(points(16, 1))
    recipe = Recipe(epochs=3, batch_size=16)
    fitted = [
        distill(student, teacher, {"train": a, "validation": train}, recipe, transfer=b)
        for a, b in [
            (train, transfer),
            (Listed(train), Listed(transfer)),
            (train, Listed(transfer)),
        ]
    ]
    assert fitted[0].history[0]["n"] == 48
    for other in fitted[1:]:
        torch.testing.assert_close(snapshot(other.model), snapshot(fitted[0].model))


# --- on hidden states, too


def sentences(n: int = 24, segments: bool = False) -> datasets.Dataset:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 40, (n, 7), generator=generator).tolist()
    rows = {"input_ids": ids, "attention_mask": [[1] * 7] * n, "labels": [i[0] % 2 for i in ids]}
    if segments:
        rows["token_type_ids"] = [[0, 0, 0, 1, 1, 1, 1]] * n
    return datasets.Dataset.from_dict(rows)


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


def test_mappings_reach_the_loss_with_their_logits_and_the_transfer_set_without_a_label():
    teacher, data, seen = tiny("bert"), sentences(), []

    def loss(student_logits, teacher_logits, labels):
        seen.append((teacher_logits, labels))
        return distillation_loss(student_logits, teacher_logits, labels)

    recipe = Recipe(epochs=1, batch_size=16)
    distill(tiny("distilbert"), teacher, {"train": data}, recipe, loss=loss, transfer=data)
    logits, labels = (torch.cat(parts) for parts in zip(*seen, strict=True))
    expected = predict(teacher, data).repeat(2, 1)
    torch.testing.assert_close(logits.sort(0).values, expected.sort(0).values)
    assert int((labels == -100).sum()) == len(data)


def test_bad_input_is_named():
    train = TensorDataset(points(4, 0), torch.zeros(4, dtype=torch.long))
    for function in (distill, distill_hidden):
        with pytest.raises(ValueError, match=rf"parts \['test'\]; {function.__name__} needs"):
            function(network(4), sharp(), {"test": train})
    with pytest.raises(ValueError, match=r"\[3, 3\].*\[4, classes\]"):
        distill(network(4), torch.zeros(3, 3), {"train": train})
    with pytest.raises(ValueError, match="as many outputs"):
        distill(network(4), torch.zeros(4, 5), {"train": train})


def test_what_cannot_be_counted_is_named_before_the_teacher_looks():
    teacher, once = tiny("bert"), Recipe(epochs=1, batch_size=2)
    rows, answers = sentences(4), torch.zeros(4, 2)
    stream, batches = rows.to_iterable_dataset(), DataLoader(rows)
    for bad, words in [
        (stream, "length is unknown"),
        (batches, r"give its data set, loader\.dataset"),
    ]:
        for given in (teacher, answers):
            with pytest.raises(TypeError, match=words):
                distill(teacher, given, {"train": bad}, once)
            with pytest.raises(TypeError, match=words):
                distill(teacher, given, {"train": rows}, once, transfer=bad)
        with pytest.raises(TypeError, match=words):
            distill_hidden(teacher, teacher, {"train": rows}, once, transfer=bad)


def test_probabilities_in_place_of_logits_are_refused():
    train = TensorDataset(points(4, 0), torch.zeros(4, dtype=torch.long))
    logits = predict(sharp(), train)
    once = Recipe(epochs=1, batch_size=4)
    for wrong in (
        logits.softmax(-1),
        logits.half().softmax(-1),
        nn.Sequential(sharp(), nn.Softmax(-1)),
    ):
        with pytest.raises(ValueError, match=r"probabilities; expected logits.*teacher\.log\(\)"):
            distill(network(4), wrong, {"train": train}, once)
    loss = functools.partial(distillation_loss, T=1.0)  # with which the advice changes nothing
    a, b = (
        distill(network(4), given, {"train": train}, once, loss=loss).history[0]["loss"]
        for given in (logits, logits.softmax(-1).log())
    )
    assert a == pytest.approx(b, rel=1e-5)


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


def distilled_in_both_precisions() -> dict[str, torch.Tensor]:
    weights = {}
    for precision in ("no", "bf16"):
        os.environ["ACCELERATE_MIXED_PRECISION"] = precision
        AcceleratorState._reset_state()  # what the last training has set
        weights |= {f"{precision} {k}": v.clone() for k, v in teach().model.state_dict().items()}
    return weights


@pytest.mark.timeout(240)
def test_two_processes_distill_as_one_does(tmp_path):
    first, second = run_on_two(distilled_in_both_precisions, tmp_path)
    alone = teach().model.state_dict()
    for precision, tolerance in (("no", 1e-5), ("bf16", 2e-2)):  # bf16 keeps eight bits
        for key, tensor in alone.items():
            weight = first[f"{precision} {key}"]
            assert torch.equal(weight, second[f"{precision} {key}"]), key
            if key.endswith("key.bias"):
                continue  # has no influence on the answer: Adam follows the rounding there
            torch.testing.assert_close(weight, tensor, rtol=0, atol=tolerance, msg=key)
    assert any(not torch.equal(first[f"no {key}"], first[f"bf16 {key}"]) for key in alone)


def test_a_teacher_with_other_tokens_is_refused():
    teacher = tiny("bert")
    student, other = student_from_teacher(teacher, [0]), student_from_teacher(teacher, [0])
    student.vocabulary, other.config.vocab_size = list(range(40)), 30
    rows = datasets.Dataset.from_dict({"input_ids": [[5]], "attention_mask": [[1]], "labels": [0]})
    for one, learn in [(student, distill), (other, distill), (student, distill_hidden)]:
        with pytest.raises(ValueError, match=r"mean other words.*predict\(teacher, tokenize"):
            learn(one, teacher, {"train": rows}, Recipe(epochs=1, batch_size=1))


@pytest.mark.parametrize("learn", [distill, distill_hidden])
def test_unlabeled_texts_alone_are_enough(learn):
    teacher, once = tiny("bert"), Recipe(epochs=1, batch_size=2)
    rows = datasets.Dataset.from_dict({"input_ids": [[5], [7]], "attention_mask": [[1], [1]]})
    student = student_from_teacher(teacher, [0])
    for more in (None, rows):
        fitted = learn(student, teacher, {"train": rows}, once, transfer=more)
        assert fitted.history[0]["loss"] > 0


def test_one_output_is_learned_with_a_loss_of_numbers():
    teacher, student = nn.Linear(4, 1), nn.Linear(4, 1)
    rows, recipe = TensorDataset(points(64, 0), torch.full((64,), -100)), Recipe(30, 0.05, 16)
    with pytest.raises(ValueError, match=r"one output is a number, not classes.*loss=lambda"):
        distill(student, teacher, {"train": rows}, recipe)
    fitted = distill(
        student, teacher, {"train": rows}, recipe, loss=lambda s, t, _: F.mse_loss(s, t)
    )
    assert fitted.history[-1]["loss"] < 0.1 * fitted.history[0]["loss"]


def test_a_stream_without_labels_is_told_to_have_some():
    teacher, once = tiny("bert"), Recipe(epochs=1, batch_size=2, steps=1)
    stream = sentences().remove_columns("labels").to_iterable_dataset()
    with pytest.raises(ValueError, match=r"no 'labels'.*give labels of −100 and a teacher"):
        distill_hidden(teacher, teacher, {"train": stream}, once)


# --- token by token --------------------------------------------------------------------------------


def test_a_language_model_comes_nearer_to_its_teacher_and_both_are_left_alone():
    from course_lib import models, structured

    teacher, _ = models.language_model("tiny")
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter *= 4  # far from random answers
    student = structured.remove_layers(teacher, [0, 2])
    before = snapshot(student), snapshot(teacher)
    ids = torch.randint(3, 250, (24, 12), generator=torch.Generator().manual_seed(0))
    steps = []
    fitted = distill_tokens(
        student,
        teacher,
        {"train": TensorDataset(ids)},
        Recipe(epochs=4, lr=3e-3, batch_size=8),
        after_step=lambda model, progress: steps.append(progress),
    )
    losses = [row["loss"] for row in fitted.history]
    assert losses[-1] < 0.8 * losses[0] and len(steps) == 12
    for model, old in zip((student, teacher), before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in snapshot(model).items())


def test_a_language_model_with_other_tokens_is_refused():
    from course_lib import models

    model, _ = models.language_model("tiny")
    other = copy.deepcopy(model)
    other.config.vocab_size += 1
    with pytest.raises(ValueError, match="The student has 259 tokens and the teacher 260"):
        distill_tokens(model, other, {"train": TensorDataset(torch.ones(2, 3).long())})


def test_padded_rows_are_cut_or_left_to_a_loss_that_knows_them():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8}
    config = partial(transformers.LlamaConfig, **sizes, num_attention_heads=2)
    student, teacher = (
        transformers.LlamaForCausalLM(config(vocab_size=rows)) for rows in (1016, 1024)
    )
    data, once = {"train": TensorDataset(torch.ones(2, 3).long())}, Recipe(epochs=1, batch_size=2)
    with pytest.raises(ValueError, match=r"padding, cut them: logits\[\.\.\., :1016\]"):
        distill_tokens(student, teacher, data, once)
    fitted = distill_tokens(student, teacher, data, once, loss=partial(token_kl, vocabulary=1016))
    assert fitted.history[0]["loss"] > 0

    kind = transformers.LlamaForSequenceClassification
    student, teacher = (kind(config(vocab_size=rows, pad_token_id=0)) for rows in (1016, 1024))
    rows = datasets.Dataset.from_dict({"input_ids": [[5]], "attention_mask": [[1]], "labels": [0]})
    for learn in (distill, distill_hidden):
        words = (
            r"1,016 tokens and the teacher 1,024.*cut the padded rows.*resize_token_emb.*\(1016\)"
        )
        with pytest.raises(ValueError, match=words):
            learn(student, teacher, {"train": rows}, once)
    teacher.resize_token_embeddings(1016)
    distill(student, teacher, {"train": rows}, Recipe(epochs=1, batch_size=1))
