"""Training: reproducible to the bit, and its arguments are left alone."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
from dataclasses import replace
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from bag_of_embeddings import BagOfEmbeddings
from blobs import DATA, RECIPE, SCRIPT, Scripted, blobs, net, same, ten
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from torch.utils.data import TensorDataset
from two_processes import run_on_two

from course_lib import training
from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.prediction import predict
from course_lib.models.networks import LeNet300, build
from course_lib.training import loop
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe


def test_the_argument_is_left_alone():
    model = net()
    model[0].weight.requires_grad_(False)
    model[1].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    fitted = fit(model, DATA, RECIPE)
    assert same(model, before)
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(fitted.model[0].weight, model[0].weight)  # frozen stays frozen
    assert not torch.equal(fitted.model[4].weight, model[4].weight)
    assert not any(module.training for module in fitted.model.modules())


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    model = net()
    first = fit(model, DATA, RECIPE)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    second = fit(model, DATA, RECIPE)
    assert torch.equal(torch.get_rng_state(), before[0])  # the caller's are left alone
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    torch.manual_seed(99)  # what the caller draws in between must not matter
    third = fit(model, DATA, RECIPE)
    for other in (second, third):
        assert same(first.model, other.model)
        assert (first.history, first.epoch) == (other.history, other.epoch)
    assert not same(first.model, fit(model, DATA, replace(RECIPE, seed=1)).model)


def test_the_history_has_a_row_for_each_epoch():
    fitted = fit(net(), DATA, RECIPE)
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3, 4, 5]
    assert all(row["n"] == 40 and 0 <= row["correct"] <= 40 for row in fitted.history)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert json.loads(json.dumps(fitted.history)) == fitted.history


def test_after_step_is_called_after_every_step_with_progress_up_to_one():
    progress = []
    recipe = Recipe(epochs=3, batch_size=8)
    fit(net(), {"train": blobs(20)}, recipe, after_step=lambda m, p: progress.append(p))
    assert progress == pytest.approx([i / 6 for i in range(1, 7)])
    assert progress[-1] == 1


def test_a_loss_of_ones_own_is_minimized():
    data = {"train": TensorDataset(torch.ones(8, 1), torch.full((8, 1), 3.0))}
    fitted = fit(
        nn.Linear(1, 1),
        data,
        Recipe(epochs=200, lr=0.1),
        loss=lambda output, batch: (output - batch[1]).square().mean(),
    )
    assert fitted.model(torch.ones(1, 1)).item() == pytest.approx(3, abs=0.01)


def test_no_epoch_gives_a_copy():
    model = net()
    fitted = fit(model, DATA, Recipe(epochs=0))
    assert same(fitted.model, model)
    assert fitted.model is not model
    assert (fitted.history, fitted.epoch, fitted.validation) == ([], 0, None)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate_leaves_nothing_on_the_model(precision, monkeypatch):
    # Its mark kept a second fit from sending the model to a GPU; its autocast stayed in every copy.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    AcceleratorState._reset_state()
    try:
        model = fit(net(), {"train": blobs(60)}, Recipe(epochs=1)).model
    finally:
        AcceleratorState._reset_state()
    assert vars(model).keys() == vars(net()).keys()
    inputs = blobs(8).tensors[0]
    assert torch.equal(model(inputs), nn.Sequential(*model.children()).eval()(inputs))


@pytest.mark.parametrize("forward_first", [False, True])
def test_a_model_pruned_by_pytorch_can_be_trained(forward_first):
    model = net()
    torch_prune.l1_unstructured(model[0], "weight", amount=0.5)
    mask = model[0].weight_mask.clone()
    if forward_first:
        model(DATA["train"].tensors[0])
    trained = fit(model, DATA, RECIPE).model
    trained(DATA["train"].tensors[0])  # PyTorch computes the masked weight at each call
    assert torch.equal(trained[0].weight != 0, mask.bool())
    assert not torch.equal(trained[0].weight_orig, model[0].weight_orig)


def scripted(select_from_last: int | None, parts: tuple[str, ...] = ("train", "validation")):
    def after_step(model: nn.Module, progress: float) -> None:
        model.t.data.fill_(10.5 - SCRIPT[round(progress * 6) - 1])

    recipe = Recipe(epochs=6, batch_size=10, select_from_last=select_from_last)
    return fit(Scripted(), dict.fromkeys(parts, ten()), recipe, after_step=after_step)


@pytest.mark.parametrize(
    ("select_from_last", "epoch"), [(None, 2), (1, 6), (2, 5), (3, 4), (4, 4), (5, 2), (100, 2)]
)
def test_the_best_of_the_last_epochs_is_kept_the_first_one_of_equals(select_from_last, epoch):
    fitted = scripted(select_from_last)
    assert fitted.epoch == epoch
    assert fitted.validation == Accuracy(SCRIPT[epoch - 1], 10)
    assert fitted.model.t.item() == 10.5 - SCRIPT[epoch - 1]
    assert f"epoch {epoch}" in repr(fitted)


def test_without_a_validation_part_the_last_epoch_is_kept():
    fitted = scripted(None, parts=("train",))
    assert (fitted.epoch, fitted.validation) == (6, None)
    assert fitted.model.t.item() == 10.5 - SCRIPT[-1]


def test_the_learning_rate_rises_and_falls():
    optimizer = SimpleNamespace(param_groups=[{}])
    recipe = Recipe(lr=2.0, warmup=0.2, decay=True)
    rates = [loop._set_lr(optimizer, recipe, p) for p in (0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([1, 2, 1, 0], abs=4e-3)
    assert optimizer.param_groups[0]["lr"] == rates[-1] > 0
    assert loop._set_lr(optimizer, Recipe(lr=2.0), 0.9) == 2


@pytest.mark.parametrize("data", [{"validation": blobs(4)}, {"train": []}])
def test_data_without_examples_to_train_on_is_refused(data):
    with pytest.raises(ValueError, match="fit needs one named 'train' that is not empty"):
        fit(net(), data)


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("number", "place"),
    [(1, r"step 1 of epoch 1, with .* 0\.00071\."), (9, r"step 2 of epoch 2, with .* 0\.0064\.")],
)
def test_a_loss_that_is_not_finite_says_where_and_what_to_try(number, place):
    steps = itertools.count(1)

    def explode(output: Tensor, batch: list[Tensor]) -> Tensor:
        return training.cross_entropy(output, batch) * (math.inf if next(steps) == number else 1)

    recipe = Recipe(epochs=4, lr=0.01, batch_size=8, warmup=0.5)
    with pytest.raises(FloatingPointError, match=f"inf at {place} Try .*ten times smaller.*NaN"):
        fit(net(), DATA, recipe, loss=explode)  # 7 steps an epoch


# --- several processes ------------------------------------------------------------------------


def train_lenet() -> dict[str, Tensor]:
    """Weights and predictions after some steps on noise with a pattern in it."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (160,), generator=generator)
    images = torch.rand(160, 1, 28, 28, generator=generator)
    images[torch.arange(160), 0, labels] += 1  # one bright row
    data = {
        "train": TensorDataset(images, labels),
        "validation": TensorDataset(images[:51], labels[:51]),  # cannot be shared evenly
    }
    fitted = fit(build(LeNet300), data, Recipe(epochs=3, batch_size=32))
    weights = {name: tensor.clone() for name, tensor in fitted.model.state_dict().items()}
    return weights | {"predictions": predict(fitted.model, data["validation"], 20)}


@pytest.mark.timeout(240)
def test_two_processes_give_the_weights_of_one(tmp_path):
    first, second = run_on_two(train_lenet, tmp_path)
    alone = train_lenet()
    assert same(first, second)
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-5, msg=name)
    moved = alone["fc1.weight"] - build(LeNet300).fc1.weight
    assert moved.abs().max() > 1e-3  # they did train


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    three = SimpleNamespace(process_index=0, num_processes=3, device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"batch of 32 cannot be shared.*multiple of 3"):
        next(loop._epochs(blobs(64), Recipe(batch_size=32), 0, three))


# --- streams ----------------------------------------------------------------------------------


def streamed(n: int = 40, shards: int = 4) -> datasets.IterableDataset:
    """Sentences of seven tokens, small ones for label 0 and large ones for 1, read one by one."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (n,), generator=generator)
    ids = torch.randint(5, 22, (n, 7), generator=generator) + 17 * labels[:, None]
    rows = {
        "input_ids": ids.tolist(),
        "attention_mask": [[1] * 7] * n,
        "labels": labels.tolist(),
    }
    return datasets.Dataset.from_dict(rows).to_iterable_dataset(num_shards=shards)


def bag() -> nn.Module:
    return build(lambda: BagOfEmbeddings(torch.arange(40), dropout=0.0))


def test_a_stream_is_read_on_through_the_epochs_and_starts_again():
    tokens = []

    def loss(output, batch):
        tokens.extend(batch["input_ids"][:, 0].tolist())
        return training.cross_entropy(output, batch)

    recipe = Recipe(epochs=3, steps=2, batch_size=8)
    fitted = fit(bag(), {"train": streamed()}, recipe, loss=loss)
    first = [row["input_ids"][0] for row in streamed()]
    assert tokens == (first + first)[:48]
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3]


def test_shards_on_disk_are_streamed_and_learned(tmp_path):
    rows = list(streamed(400))
    for i in range(2):
        datasets.Dataset.from_list(rows[i::2]).to_parquet(tmp_path / f"shard-{i}.parquet")
    stream = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "*.parquet"), split="train", streaming=True
    ).shuffle(seed=0, buffer_size=64)
    opened = 0

    class Counted(datasets.IterableDataset):
        def __iter__(self):
            nonlocal opened
            opened += 1
            return iter(stream)

    counted = Counted(stream._ex_iterable)
    recipe = Recipe(epochs=5, steps=9, batch_size=8, lr=0.05)  # 360 sentences: one pass
    fitted = fit(bag(), {"train": counted, "validation": datasets.Dataset.from_list(rows)}, recipe)
    assert fitted.validation.value > 0.9
    assert opened == 1  # read on: starting again each epoch would cost more and more


@pytest.mark.reliability
def test_an_interrupted_stream_ends_with_the_bits_of_an_uninterrupted_one(cache_folder):
    recipe = Recipe(epochs=4, steps=3, batch_size=8, lr=0.01)
    whole = fit(bag(), {"train": streamed()}, recipe)
    steps = itertools.count(1)

    def loss(output, batch):
        if next(steps) == 8:  # in the third epoch
            raise KeyboardInterrupt
        return training.cross_entropy(output, batch)

    named = replace(recipe, checkpoint="stream")
    with pytest.raises(KeyboardInterrupt):
        fit(bag(), {"train": streamed()}, named, loss=loss)
    assert same(fit(bag(), {"train": streamed()}, named).model, whole.model)


def test_steps_belong_to_streams_alone():
    with pytest.raises(ValueError, match=r"a stream, whose length is unknown.*steps=None"):
        fit(bag(), {"train": streamed()}, Recipe(epochs=1))
    with pytest.raises(ValueError, match=r"no stream, and the recipe has steps=3"):
        fit(build(LeNet300), {"train": blobs(64)}, Recipe(epochs=1, steps=3))
    with pytest.raises(ValueError, match="empty"):
        fit(bag(), {"train": streamed().take(0)}, Recipe(epochs=1, steps=1))
